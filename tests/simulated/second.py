"""Insights behind the first processor: the steps that it reads, and what it must tell of them."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from schemas.feed import EdgePart, JudgedPart, Part, PatternPart, subject, subject_of
from schemas.flow import Record
from schemas.records import Edge, Figures, Pattern
from schemas.serde import epoch_ms, utc
from tests.fed import total
from tests.simulated.known import must
from tests.simulated.machine import Machine, PublishedRecord
from tests.simulated.story import HOUR, MINUTE, PARTITIONS, StoryStep, TablesChange

EDGES: Final = "handoff.edges"
PATTERNS: Final = "handoff.patterns"
FIGURES: Final = "handoff.figures"
DAY: Final = 24 * HOUR

AHEAD: Final = 5 * MINUTE

_part = msgspec.json.Decoder[Part](Part).decode
_edge = msgspec.json.Decoder(Edge).decode
_pattern = msgspec.json.Decoder(Pattern).decode
_figures = msgspec.json.Decoder(Figures).decode


def steps_behind(steps: Sequence[StoryStep], told: Sequence[PublishedRecord]) -> list[StoryStep]:
    """What insights goes through: each sum when it was told, each change of the tables."""
    found: list[StoryStep] = []
    offsets: Counter[int] = Counter()
    by_step: defaultdict[int, list[PublishedRecord]] = defaultdict(list)
    for each in told:
        by_step[each.step].append(each)

    def read(sums: Sequence[PublishedRecord]) -> Iterator[StoryStep]:
        for each in sums:
            key = each.output.key or b""
            partition = sum(key) % PARTITIONS
            about = subject_of(key.decode(), _part(each.output.value or b""))
            record = Record(
                each.output.topic, partition, offsets[partition], key, each.output.value, each.now
            )
            offsets[partition] += 1
            yield StoryStep(0, each.now, record, about)

    for step in steps:
        sums = by_step[step.number]
        found += read([each for each in sums if each.now < step.at])
        if isinstance(step.what, TablesChange):
            found.append(step)
        found += read([each for each in sums if each.now >= step.at])
    return [
        StoryStep(number, step.at, step.what, step.task)
        for number, step in enumerate(found, start=1)
    ]


def by_subject(published: Sequence[PublishedRecord]) -> dict[str, list[PublishedRecord]]:
    """What insights publishes, by topic and key; the moment counts, the step does not."""
    found: dict[str, list[PublishedRecord]] = defaultdict(list)
    for each in published:
        key = (each.output.key or b"").decode()
        found[f"{each.output.topic} {key}"].append(each._replace(step=0))
    return found


def adds_up(machine: Machine) -> None:
    """What insights told of edges and patterns at last is what it was told. Raises `Broken`."""
    came: defaultdict[str, list[Part]] = defaultdict(list)
    for step in machine.steps:
        if isinstance(step.what, Record):
            came[step.task].append(_bounded(_part(step.what.value or b""), step.at + AHEAD))
    parts = {
        name: total(each) for name, each in came.items() if not isinstance(each[0], JudgedPart)
    }
    letters = sum(n for (name, _, _), n in machine.counts.items() if name == "dead_letters")
    failed = sum(n for (name, _, _), n in machine.counts.items() if name == "failed_wakes")
    must((letters, failed) == (0, 0), "insights", f"{letters} dead letters, {failed} failed wakes")
    edges: dict[str, Edge] = {}
    figures: dict[str, Figures] = {}
    closed: list[str] = []
    patterns: defaultdict[str, list[Pattern]] = defaultdict(list)
    for _, _, output in machine.published:
        key = (output.key or b"").decode()
        if output.topic == EDGES:
            edges[key] = _edge(output.value or b"")
        elif output.topic == PATTERNS:
            patterns[key].append(_pattern(output.value or b""))
        elif output.topic == FIGURES and key.startswith("pattern/"):
            closed.append(_pattern(output.value or b"").id)
        elif output.topic == FIGURES and output.value is None:
            must(key in figures, "figures", f"{key} is deleted, and was not there")
            del figures[key]
        elif output.topic == FIGURES:
            figures[key] = _figures(output.value or b"")
    _are_figures(came, figures)
    for told in patterns.values():
        for pattern in told:
            _ran_clean(machine, pattern)
    ended = [each.id for told in patterns.values() for each in told if each.status == "closed"]
    must(sorted(closed) == sorted(ended), "figures", "other patterns are kept than were closed")
    for name, part in parts.items():
        if isinstance(part, EdgePart):
            _is_edge(name, part, edges.pop(name, None))
    must(not edges, "insights", f"edges of nothing: {sorted(edges)}")
    for name, told in patterns.items():
        _is_pattern(name, parts, told)


def _ran_clean(machine: Machine, pattern: Pattern) -> None:
    """A pattern that a run of handoffs closed: they were judged by then, and are later than what it
    counts."""
    run = re.search(r"The last (\d+) handoffs", pattern.message)
    if run is None:
        return
    must(pattern.status == "closed", "insights", f"{pattern.id} is {pattern.status} by a run")
    last = epoch_ms(pattern.last_seen)
    later = 0
    for step in machine.steps:
        if isinstance(step.what, Record) and step.at <= epoch_ms(pattern.at):
            part = _part(step.what.value or b"")
            if isinstance(part, JudgedPart) and part.contract == pattern.contract:
                later += sum(at > last for at in part.times if part.backfill == pattern.backfill)
    must(later >= int(run[1]), "insights", f"{pattern.id} is closed by a run of {later}")


def _bounded(part: Part, latest: int) -> Part:
    """An edge is not seen later than a clock may be ahead."""
    if not isinstance(part, EdgePart):
        return part
    first_seen, last_seen = min(part.first_seen, latest), min(part.last_seen, latest)
    return replace(part, first_seen=first_seen, last_seen=last_seen)


def _is_edge(name: str, part: EdgePart, edge: Edge | None) -> None:
    must(edge is not None, "insights", f"the edge {name} is not published")
    assert edge is not None
    counts = part.counts
    told = {**edge.counts, "moves": edge.moves, "tasks": edge.tasks}
    expected = {"tasks": 0, **counts}
    must(told == expected, "insights", f"{name}: {told}, and it was told {expected}")
    times = (epoch_ms(edge.first_seen), epoch_ms(edge.last_seen))
    must(times == (part.first_seen, part.last_seen), "insights", f"{name} was seen at {times}")
    moves = counts["moves"]
    for field, types in part.fields.items():
        share = min(sum(types.values()) / moves, 1.0)
        must(_close(edge.fields[field], share), "insights", f"{name}: the share of {field}")
    must(edge.fields.keys() == part.fields.keys(), "insights", f"{name}: other fields")
    if part.kind == "move":
        return
    must(edge.open == moves - counts.get("closed", 0), "insights", f"{name}: {edge.open} open")
    judged = counts.get("judged", 0)
    for figure, sum_ in ((edge.fidelity, part.fidelity), (edge.completeness, part.completeness)):
        mean = sum_ / judged if judged else None
        same = figure is mean if mean is None or figure is None else _close(figure, mean)
        must(same, "insights", f"{name}: {figure}, and {mean} is the mean")


def _are_figures(came: Mapping[str, Sequence[Part]], figures: dict[str, Figures]) -> None:
    """The last figures are those of the days: long after the last event no hour is left."""
    days: defaultdict[str, list[EdgePart]] = defaultdict(list)
    for name, parts in came.items():
        for part in parts:
            if isinstance(part, EdgePart):
                day = part.last_seen // DAY * DAY
                days[f"{name}/{utc(day):%Y-%m-%d}"].append(part)
    must(figures.keys() == days.keys(), "figures", f"of {sorted(figures.keys() ^ days.keys())}")
    for key, parts in days.items():
        found, whole = figures[key], total(parts)
        must(found.counts == whole.counts, "figures", f"{key}: {found.counts}, not {whole.counts}")
        lost = whole.counts.get("lost", 0)
        must(sum(found.lost_fields.values()) == lost, "figures", f"{key}: other fields were lost")
        accepted = sum(whole.accepted_in.values())
        must(sum(found.accepted_in_ms.values()) == accepted, "figures", f"{key}: other latencies")
        for one, other in (
            (found.fidelity_sum, whole.fidelity),
            (found.completeness_sum, whole.completeness),
        ):
            must(_close(one, other), "figures", f"{key}: a sum of shares is {one}, not {other}")
        must(epoch_ms(found.until) - epoch_ms(found.since) == DAY, "figures", f"{key} is no day")


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, abs_tol=1e-6)


def _is_pattern(name: str, parts: dict[str, Part], told: list[Pattern]) -> None:
    """Opened, updated, closed, again and again; all counts together are what came."""
    counted, before = 0, None
    for pattern in told:
        must(pattern.fingerprint == name, "insights", f"{pattern.id} lies under {name}")
        if before is None:
            must(pattern.status == "opened", "insights", f"{pattern.id}: {pattern.status} first")
        else:
            must(pattern.id == before.id, "insights", f"{pattern.id} before {before.id} is closed")
            must(pattern.status != "opened", "insights", f"{pattern.id} is opened twice")
            must(pattern.count >= before.count, "insights", f"{pattern.id} counts less")
        before = pattern
        if pattern.status == "closed":
            counted, before = counted + pattern.count, None
    must(before is None, "insights", f"{name} is open for ever")
    part = parts.get(name)
    if isinstance(part, PatternPart):
        came = sum(part.minutes.values())
        must(counted <= came, "insights", f"{name} counts {counted} of {came}")
        if part.errors == came and not part.mended:
            must(counted == came, "insights", f"{name} counts {counted} of {came} errors")
    else:  # the moves that nobody documented are a part of their edge
        edge = parts.get(subject("move", *_between(name)))
        must(edge is not None, "insights", f"{name} is a pattern of nothing")
        assert isinstance(edge, EdgePart)
        must(counted <= edge.counts.get("bare", 0), "insights", f"{name} counts {counted}")


def _between(name: str) -> list[str]:
    """Workflow and stages of `edge/WORKFLOW/FROM/TO/KIND`."""
    return [part.replace("%2F", "/").replace("%25", "%") for part in name.split("/")[1:4]]
