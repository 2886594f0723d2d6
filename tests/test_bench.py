"""The benchmark without a broker: what it counts, what it refuses, and what it writes down."""

import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from bench import outcome, plot, report, workload
from bench.latency import Latency
from bench.outcome import Handoff
from bench.rates import MeasuredRun, Rate, follow
from bench.relay import RelayRates, incidents, outputs
from bench.restoring import Restored
from bench.shape import InstanceRates, Shape, changelog_bytes
from bench.site import BenchError
from bench.throughput import Round, Throughput
from bench.workload import Place

RUN = MeasuredRun(Rate(200, 4.0, 2.0), Rate(100, 1.0, None))
LOST = workload.make(400, 10**12)


class Committing:
    """A site and a process whose group commits so much from look to look."""

    def __init__(self, *committed: int) -> None:
        self._committed = iter(committed)
        self._looks = 0

    def committed(self, _: str, __: str) -> int:
        self._looks += 1
        return next(self._committed)

    def check(self) -> None:
        """It never fails."""

    def cpu(self) -> float:
        return float(self._looks)


def followed(*committed: int, events: int = 0, in_transactions: bool = False) -> MeasuredRun:
    stub = cast(Any, Committing(*committed))
    return follow(stub, "group", [stub], events or committed[-1], in_transactions=in_transactions)


def test_what_counts_begins_with_the_first_commit_that_is_seen() -> None:
    run = followed(0, 0, 100, 300, 600, 1_100)
    assert (run.whole.events, run.whole.cpu) == (1_000, 3.0)
    assert (run.second_half.events, run.second_half.cpu) == (500, 1.0)


@pytest.mark.parametrize("committed", [(1_000,), (0, 1_000)])
def test_what_was_done_at_the_first_look_is_no_figure(committed: tuple[int, ...]) -> None:
    with pytest.raises(BenchError, match="take more --events"):
        followed(*committed)


def test_marks_of_transactions_may_be_more_than_the_events() -> None:
    run = followed(0, 100, 1_150, events=1_100, in_transactions=True)
    assert run.whole.events == 1_050
    with pytest.raises(BenchError, match="1,150 of 1,100"):
        followed(0, 100, 1_150, events=1_100)


def test_integrity_alone_reads_what_intake_would_write() -> None:
    records = incidents(7)
    found = outputs(records)
    assert [key for key, _ in found] == [key for key, _ in records]
    assert len({key for key, _ in found}) == 3
    assert all(b'"stage":"first-line"' in value for _, value in found)


def outcomes() -> dict[Place, Handoff]:
    return {
        place: Handoff(dict(lost), dict.fromkeys(lost, "")) for place, lost in LOST.lost.items()
    }


def broken() -> Iterator[tuple[str, Callable[[dict[Place, Handoff]], object], str]]:
    whole = next(place for place, lost in LOST.lost.items() if not lost)
    lossy = next(place for place, lost in LOST.lost.items() if lost)
    field = next(iter(LOST.lost[lossy]))
    yield "a package is missing", lambda found: found.pop(whole), "99 packages came, 100"
    yield "one too many", lambda found: found.update({("x", "y"): found[whole]}), "101 packages"
    yield "a loss untold", lambda found: found[lossy].lost.pop(field), "dropped"
    yield "an invented loss", lambda found: found[whole].lost.update(amount=""), "amount"
    yield "not rebuilt", lambda found: found[lossy].rebuilt.pop(field), "rebuilt"
    yield "another value", lambda found: found[lossy].rebuilt.update({field: 0}), "the values"


def test_what_was_provoked_is_no_error() -> None:
    outcome.check(outcomes(), LOST)


@pytest.mark.parametrize(("change", "says"), [pytest.param(*b[1:], id=b[0]) for b in broken()])
def test_anything_else_is(change: Callable[[dict[Place, Handoff]], object], says: str) -> None:
    found = outcomes()
    change(found)
    with pytest.raises(BenchError, match=says):
        outcome.check(found, LOST)


def test_a_changelog_record_holds_at_least_what_its_output_said() -> None:
    assert changelog_bytes(LOST) > LOST.bytes_a_record


def made(streams: MeasuredRun | None, more: dict[str, Any]) -> report.Report:
    rounds = [Round(RUN, RUN, RUN, RUN, RUN, streams)] * 2
    return report.Report(
        name="test",
        date="2026-01-31",
        machine=report.BenchMachine(2, "a CPU", None, 0.1),
        versions=report.Versions("3.11.0", "2.16.0", "a broker", None),
        events=400,
        bytes_an_event=600.0,
        throughput=Throughput(rounds, 3_000.0, 4_000.0, None),
        **({"shapes": [], "instances": [], "latency": []} | more),
    )


def reports() -> Iterator[report.Report]:
    yield made(None, {})
    yield made(
        RUN,
        {
            "shapes": [Shape(4, 600.0, RUN, RUN, 2e3, 3e3), Shape(40, 600.0, RUN, None, 9e3, None)],
            "instances": [InstanceRates(1, RUN, RUN), InstanceRates(2, RUN, None)],
            "latency": [Latency("integrity", 1_000, 9, 1.0, 2.0)],
            "relay": RelayRates(1_500.0, [RUN], [RUN], RUN, RUN),
            "restored": [Restored("integrity", 9, 30, 1.0), Restored("beside", 9, 30, 0.5)],
        },
    )


@pytest.mark.parametrize("given", list(reports()), ids=["alone", "beside Kafka Streams"])
def test_figures_are_saved_drawn_and_shown_on_the_page(
    given: report.Report, tmp_path: Path
) -> None:
    page = tmp_path / "speed.md"
    page.write_text(f"before\n{report.BEGIN}old figures\n{report.END}after\n")
    path = report.save(given, page, tmp_path)
    assert report.read(path) == given
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old figures" not in text
    assert "2026-01-31-test.png" in text
    assert "| integrity, one process | 50 | 100 | 100 | - |" in text
    assert ("Kafka Streams, one process" in text) == bool(given.shapes)
    behind = "| integrity behind intake to integrity alone |  | 1.00 |"
    assert (behind in text) == (given.relay is not None)
    assert ("| restoration of 9 tasks | records | seconds |" in text) == bool(given.restored)
    plot.draw(given, picture := tmp_path / "picture.png")
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("configured", "told"),
    [
        ("'--with-lto' '--enable-optimizations'", "with"),
        ("'--enable-shared'", "without"),
        (None, "without"),
    ],
)
def test_figures_say_how_python_was_built(
    configured: str | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sysconfig.get_config_var", {"CONFIG_ARGS": configured}.get)
    assert report.python() == f"{platform.python_version()} ({told} --enable-optimizations)"


def test_the_page_has_a_place_for_figures() -> None:
    text = report.PAGE.read_text()
    assert 0 < text.index(report.BEGIN) < text.index(report.END)
