"""Stories as data: each file in `scenarios/` is one story that a process owner can read.

    title, story   what it is about
    contracts      as people write them; what is left out is filled from CONTRACT in `core`
    receivers      likewise from RECEIVER; left out: that one receiver
    topics         the topics that exist; left out: nobody knows, so all count as there
    inputs         what happens, in the order of its times:
                   - a tool output, filled from `core`. `at` is when the record reaches Kafka and
                     the processor; `occurred_at`, `timestamp`, `now` are given where they differ.
                     `raw` is the record's value as text, `key` and `headers` are the record's.
                     Where it names a `stage`, it states no team that it does not name
                   - `ack: {handoff_id: handoff of e2, status: accepted}`, beside `at` and the like;
                     its id is ac1, ac2, ... where it has none, its task t1, `by` Dana
                   - `amendment: {handoff_id: handoff of e2, action: release, reason: ...}`: am1 ...
                   - `contracts: [...]`, `receivers: [...]`, `liveness: [{live: false}]` or `topics:
                     [...]`, with `at`: registered just then; `topics` are all that exist by then
                   - `sources: [...]`, likewise, from SOURCE in `core`; `read: {tracker: "09:00"}`:
                     intake tells up to when that source was read
                   - `at` alone: the clock moves on to that time, and past it
                   In between the clock moves by itself: deadlines fall due at their moment (one at
                   the very moment of an input after it), and so does what changes with the time.
                   At the last input the story ends
    expect         every record that is published, in order, one key each:
                   package, held, violation, signal: the members that matter (`context` is always
                   whole; `how` is the provenance's, whole); a signal may be just its kind
                   queue: the topic where the package before it goes too; held: gone (a tombstone)
                   dead letter: its code. `headers` stand beside any of them
    counts         what is counted beside the records, where that matters
    feed           what insights is told in all, by subject, each subject that there is: the members
                   that matter (`counts` and `fields` are always whole)

Times are `09:00` on the first day or `day 3 09:00`. `handoff of e2` stands for the id of the
handoff that the event e2 made, and `handoff of e2:1:rejected:` for that of a violation of it.
"""

import difflib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from ruamel.yaml import YAML

from processors.driver import Driver
from processors.integrity.state import Task
from schemas.flow import Output
from schemas.links import LINKS
from schemas.published import PUBLISHED
from schemas.serde import utc
from tests.core import (
    TIME,
    Story,
    at_the_end,
    each_time,
    first_revision,
    handoff_ids,
    is_record,
    ms,
    play,
    totals,
)
from tests.fed import closes, same, told
from tests.states import tasks_of

SCENARIOS: Final = sorted((Path(__file__).parent / "scenarios").glob("*.yaml"))
KINDS: Final = {
    "handoff.packages": "package",
    "handoff.held": "held",
    "handoff.violations": "violation",
    "handoff.signals": "signal",
    "handoff.dead-letters": "dead letter",
}
ENDS: Final = ("applied", "duplicates", "refused", "dead_letters")


@pytest.fixture(params=SCENARIOS, ids=lambda path: path.stem)
def story(request: pytest.FixtureRequest) -> Story:
    loaded: Story = YAML(typ="safe", pure=True).load(request.param.read_text())
    return loaded


def test_a_scenario_publishes_exactly_what_it_expects(story: Story) -> None:
    outputs, driver = play(story, each_time)
    found = [_shown(output) for output in outputs]
    expected = [_meant(entry, handoff_ids(outputs)) for entry in story["expect"]]
    problems = "\n".join(_differences(expected, found, outputs))
    if problems:
        pytest.fail(f"{story['title']}\n{problems}", pytrace=False)
    if "feed" in story:
        fed = told(driver.fed())
        wanted = _written_out(story["feed"], handoff_ids(outputs))
        assert fed.keys() == wanted.keys(), story["title"]
        shown = {subject: _part_of(fed[subject], part) for subject, part in wanted.items()}
        if not same(wanted, shown):
            lines = "\n".join(difflib.ndiff(_lines(wanted), _lines(shown)))
            pytest.fail(f"{story['title']}: feed\n{lines}", pytrace=False)
    counted = totals(driver)
    for name, number in story.get("counts", {}).items():
        assert counted[name] == number, f"{story['title']}: {name}"


def test_what_holds_for_every_scenario(story: Story) -> None:
    outputs, driver = play(story, each_time)
    later, at_once = play(story, at_the_end)
    assert [bytes_of(o) for o in outputs] == [bytes_of(o) for o in later], (
        "the moments of commit are nobody's business"
    )
    assert same(told(driver.fed()), told(at_once.fed()))
    closes(driver.fed(), tasks_of(driver))
    accounting_closes(driver, outputs, sum(map(is_record, story["inputs"])))
    for output in outputs:
        parses_back(output)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda expect: expect.pop(), "+ published, and not expected:"),
        (lambda expect: expect.append({"signal": "held"}), "- expected, and not there:"),
        (lambda expect: expect.insert(0, expect.pop()), "- expected, and not there:"),
        (lambda expect: expect[0]["package"].update(hop=2), '-     "hop": 2'),
        (lambda expect: expect[0]["package"]["context"].pop("a"), '+       "a": 1'),
        (
            lambda expect: expect[0].update(headers={"handoff-schema": "x"}),
            '-     "hand',
        ),
    ],
)
def test_the_runner_says_what_differs(change: Callable[[list[Story]], Any], said: str) -> None:
    expect: list[Story] = [{"package": {"hop": 1, "context": {"a": 1}}}, {"signal": "sent"}]
    story: Story = {"contracts": [{}], "inputs": [{"context": {"a": 1}, "handoff": "marketing"}]}
    outputs, _ = play(story, each_time)
    found = [_shown(output) for output in outputs]
    assert not list(_differences([_meant(entry, {}) for entry in expect], found, outputs))
    change(expect)
    lines = list(_differences([_meant(entry, {}) for entry in expect], found, outputs))
    assert any(line.startswith(said) for line in lines), lines


def bytes_of(output: Output) -> tuple[str, bytes | None, bytes | None, list[tuple[str, bytes]]]:
    return output.topic, output.key, output.value, output.headers


def accounting_closes(driver: Driver[Task], outputs: list[Output], inputs: int) -> None:
    """Inputs = applied + duplicates + refused + dead letters; begun = open + closed."""
    counted = totals(driver)
    ends = {c: n for c, n in driver.counts.items() if c[0] in ENDS and c[1] != LINKS}
    assert sum(ends.values()) == inputs
    letters = [output for output in outputs if output.topic == "handoff.dead-letters"]
    assert counted["dead_letters"] == len(letters)
    tasks = tasks_of(driver)
    begun = [o for o in outputs if first_revision(o)]
    assert counted["handoffs_begun"] == len(begun)
    assert len(begun) == sum(len(task.open) for task in tasks) + counted["handoffs_closed"]


def parses_back(output: Output) -> None:
    """A published record is read by its type, and written by it gives the same bytes."""
    headers = dict(output.headers)
    if output.value is None or output.topic == "handoff.dead-letters":
        return
    assert headers["content-type"] == b"application/json"
    name, _, version = headers["handoff-schema"].decode().partition("/")
    assert version == "1"
    assert msgspec.json.encode(msgspec.json.decode(output.value, type=PUBLISHED[name])) == (
        output.value
    )


# --- expected and found, side by side ----------------------------------------------------------


def _shown(output: Output) -> Story:
    """A published record under its short name."""
    headers = {name: text.decode() for name, text in output.headers}
    kind = KINDS.get(output.topic, "queue")
    if kind == "dead letter":
        code = headers["__streams.errors.exception"]
        return {kind: code, "headers": headers}
    if kind == "queue":
        return {kind: output.topic, "headers": headers}
    if output.value is None:
        return {kind: "gone", "headers": headers, "key": (output.key or b"").decode()}
    value = json.loads(output.value)
    if "provenance" in value:
        value["how"] = {name: entry["how"] for name, entry in value["provenance"].items()}
    return {kind: value, "headers": headers}


def _meant(entry: Story, ids: dict[str, str]) -> Story:
    """An expectation with its short forms written out."""
    signal = entry.get("signal")
    if isinstance(signal, str):
        entry = entry | {"signal": {"kind": signal}}
    written: Story = _written_out(entry, ids)
    return written


def _written_out(value: Any, ids: dict[str, str], name: str = "") -> Any:
    if isinstance(value, dict):
        if name in ("context", "headers"):
            return value
        return {key: _written_out(inner, ids, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_written_out(inner, ids, name) for inner in value]
    if isinstance(value, str) and value.startswith("handoff of "):
        handoff, colon, rest = value.partition(":")  # a violation's id begins with its handoff's
        return ids.get(handoff, handoff) + colon + rest
    if isinstance(value, str) and TIME.fullmatch(value):
        return msgspec.to_builtins(utc(ms(value)))
    return value


def _differences(expected: list[Story], found: list[Story], outputs: list[Output]) -> Iterator[str]:
    """Lines of a diff, one record after another; nothing where all is as expected."""
    position = 0
    for entry in expected:
        place = next((i for i in range(position, len(found)) if _heads(entry, found[i])), None)
        if place is None:
            yield "- expected, and not there:"
            yield from (f"-   {line}" for line in _lines(entry))
            continue
        for extra in found[position:place]:
            yield from _extra(extra)
        position = place + 1
        shown = _part_of(found[place], entry)
        if not same(entry, shown):
            lines = difflib.ndiff(_lines(entry), _lines(shown))
            yield from (line for line in lines if not line.startswith("?"))
        if "queue" in entry and bytes_of(outputs[place])[1:3] != bytes_of(outputs[place - 1])[1:3]:
            yield f"- {entry['queue']} does not carry the package before it"
    for extra in found[position:]:
        yield from _extra(extra)


def _extra(shown: Story) -> Iterator[str]:
    yield "+ published, and not expected:"
    head = {name: value for name, value in shown.items() if name != "headers"}
    yield from (f"+   {line}" for line in _lines(head))


def _heads(entry: Story, shown: Story) -> bool:
    """Whether two records are about the same thing, so that their difference is worth showing."""
    kind = next(iter(entry))
    if kind not in shown:
        return False
    wanted, is_ = entry[kind], shown[kind]
    if not isinstance(wanted, dict) or not isinstance(is_, dict):
        return bool(wanted == is_)
    names = ("kind", "field", "event_id")
    return all(wanted[name] == is_.get(name) for name in names if name in wanted)


def _part_of(found: Any, expected: Any) -> Any:
    """What was found, cut down to the members that are expected (a context stays whole)."""
    if not isinstance(found, dict) or not isinstance(expected, dict):
        return found
    part = {}
    for name, wanted in expected.items():
        if name in found:
            whole = name in ("context", "how", "counts", "fields")
            part[name] = found[name] if whole else _part_of(found[name], wanted)
    return part


def _lines(value: Any) -> list[str]:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).splitlines()
