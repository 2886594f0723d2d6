"""The picture of a report: `python -m bench.plot FILE.json` draws it anew beside the file."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bench.rates import MeasuredRun
from bench.report import PROGRAMS, Report, pace, read, runs_of
from bench.shape import Shape

OURS, THEIRS, WARM = "#1b6ca8", "#d98e04", "#f2c46d"
_LEGEND = {
    "integrity": OURS,
    "Kafka Streams, whole run": THEIRS,
    "Kafka Streams, second half": WARM,
}
_GREY = "#9aa5b1"
_COLORS = {"integrity": OURS, "both": OURS, "streams": THEIRS}


_Row = tuple[str, MeasuredRun, MeasuredRun | None]  # its label, integrity, Kafka Streams


def draw(report: Report, path: Path) -> None:
    """Write the picture (PNG)."""
    figure = Figure(figsize=(13, 8.5), layout="constrained")
    axes = figure.subplots(2, 3)
    _programs(axes[0][0], report)
    _changelog(axes[0][1], report.shapes)
    _latency(axes[0][2], report)
    lengths: list[_Row] = [
        (f"{each.outputs_a_task:,}", each.integrity, each.streams) for each in report.shapes
    ]
    counts: list[_Row] = [
        (f"{each.instances}", each.integrity, each.streams) for each in report.instances
    ]
    _rates(axes[1][0], "outputs a task: events/s", lengths, cpu=False)
    _rates(axes[1][1], "outputs a task: events a CPU second", lengths, cpu=True)
    _rates(axes[1][2], "instances: events/s", counts, cpu=False)
    of, here = report.versions, report.machine
    figure.suptitle(
        f"Handoff Integrity, {report.date}: {here.cores} cores shared with the broker "
        f"({here.cpu}), {of.broker}, Python {of.python}"
    )
    handles = [Patch(color=color, label=title) for title, color in _LEGEND.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _programs(axes: Axes, report: Report) -> None:
    """Events a second and a CPU second, of whole runs."""
    axes.set_title("events a second (wide), a CPU second (narrow)")
    axes.set_xscale("log")
    found = report.throughput
    bars = [
        (title, _COLORS.get(name, _GREY), [run.whole for run in runs_of(found, name)])
        for name, title in PROGRAMS
    ]
    warm = [run.second_half for run in runs_of(found, "streams")]
    bars.append(("Kafka Streams, second half", WARM, warm))
    there = [each for each in reversed(bars) if each[2]]
    for place, (_, color, rates) in enumerate(there):
        wall, cpu = pace(rates)
        axes.barh(place + 0.12, wall, height=0.5, color=color)
        axes.text(wall, place + 0.12, f" {wall:,.0f}", va="center", fontsize=8)
        if cpu is not None:
            axes.barh(place - 0.28, cpu, height=0.2, color=color, alpha=0.6)
    axes.set_yticks(range(len(there)), [title for title, _, _ in there], fontsize=8)
    walls = [pace(rates)[0] for _, _, rates in there]
    axes.set_xlim(min(walls) / 4, max(walls) * 8)


def _changelog(axes: Axes, shapes: Sequence[Shape]) -> None:
    """Bytes an output, by the length of tasks."""
    axes.set_title("changelog bytes an output")
    axes.set_xlabel("outputs a task")
    if not shapes:
        return
    lengths = [each.outputs_a_task for each in shapes]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.plot(lengths, [each.changelog_bytes for each in shapes], "o-", color=OURS)
    theirs = [each.streams_changelog_bytes or math.nan for each in shapes]
    axes.plot(lengths, theirs, "o-", color=THEIRS)
    axes.plot(lengths, [each.input_bytes for each in shapes], ":", color=_GREY)
    axes.text(lengths[0], shapes[0].input_bytes, "the input", va="bottom", fontsize=8)
    axes.set_xticks(lengths, [f"{each:,}" for each in lengths])


def _latency(axes: Axes, report: Report) -> None:
    """Median as a bar, 99th percentile as a line above it."""
    axes.set_title("latency, ms: median; p99 as a line")
    labels = []
    for place, each in enumerate(report.latency):
        color = OURS if each.program == "integrity" else THEIRS
        axes.bar(place, each.p50, color=color)
        axes.vlines(place, each.p50, each.p99, color=color, linewidth=3)
        axes.text(place, each.p99, f"{each.p99:,.0f}", ha="center", va="bottom", fontsize=8)
        labels.append(f"{each.rate:,}/s")
    axes.set_xticks(range(len(labels)), labels)


def _rates(axes: Axes, title: str, rows: Sequence[_Row], *, cpu: bool) -> None:
    """Bars side by side for each length of tasks, or number of instances."""
    axes.set_title(title)
    for place, (_, ours, theirs) in enumerate(rows):
        rates = [ours.whole, *([] if theirs is None else [theirs.whole, theirs.second_half])]
        for number, (rate, color) in enumerate(zip(rates, _LEGEND.values(), strict=False)):
            value = (rate.a_cpu_second or 0.0) if cpu else rate.a_second
            at = place + (number - 1) * 0.27
            axes.bar(at, value, width=0.25, color=color)
            axes.text(at, value, f"{value:,.0f}", ha="center", va="bottom", fontsize=7)
    axes.set_xticks(range(len(rows)), [label for label, _, _ in rows])


def main() -> None:
    """Draw each file that is named."""
    for name in sys.argv[1:]:
        path = Path(name)
        draw(read(path), path.with_suffix(".png"))


if __name__ == "__main__":
    main()
