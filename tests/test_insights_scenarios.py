"""Stories of insights as data: each file in `insights/` is a timeline.

contracts, receivers, topics   as in `test_scenarios`
limits    {pattern_window_ms, edge_interval_ms}, where they are not the defaults, and
          {pattern_settle_ms}, which is 0 here
inputs    what happens, in the order of its times:
          - a pattern's part: `pattern: FINGERPRINT`, with `times` (1), `error: true`, `tasks`,
            `stages` and other members of `PatternPart` (`times: 0` with `mended`); kind,
            contract, receiver and field come from the fingerprint. A `repeat/...` takes
            `threshold` (5), `within_ms` (an hour), `receiver` (engineering) and `values`
          - an edge's part: `move: [FROM, TO]` or `handoff: [FROM, RECEIVER]`, with `times`,
            counts by name, `fields`, `fidelity`, `completeness`, `contract`, `accepted_in` (a
            list of latency buckets)
          - `judged_on: CONTRACT`, with `times` (1), one each `every` ms (1000) from its time on
          - `contracts: [...]` and the like, or `at` alone, as in `test_scenarios`
          `at` is the processor's clock; `occurred_at` is given where it differs
expect    every record that is published, in order: `opened`, `updated`, `closed` (a pattern, by
          its fingerprint), `edge: FROM -> TO`, `queue: TOPIC` (the pattern before it, again),
          `dead letter`, `figures: KEY` and `gone: KEY` (a tombstone there); beside it the members
          that matter, and `key` or `headers`. Where none of `figures` is expected, the records of
          `handoff.figures` are left out
"""

from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from ruamel.yaml import YAML

from schemas.flow import Output
from schemas.records import Edge, Figures, Pattern
from schemas.serde import utc
from tests.core import TIME, Story, ms
from tests.insights_core import at_the_end, each_time, play, shown

SCENARIOS: Final = sorted((Path(__file__).parent / "insights").glob("*.yaml"))
FIGURES: Final = "handoff.figures"
KINDS: Final = {b"edge/1": Edge, b"figures/1": Figures, b"pattern/1": Pattern}


@pytest.fixture(params=SCENARIOS, ids=lambda path: path.stem)
def story(request: pytest.FixtureRequest) -> Story:
    loaded: Story = YAML(typ="safe", pure=True).load(request.param.read_text())
    return loaded


def test_a_scenario_publishes_exactly_what_it_expects(story: Story) -> None:
    outputs, _ = play(story, each_time)
    with_figures = any("figures" in entry for entry in story["expect"])
    shown_ = [output for output in outputs if with_figures or output.topic != FIGURES]
    found = [_told(output) for output in shown_]
    expected = [_meant(entry) for entry in story["expect"]]
    assert [_part_of(f, e) for f, e in zip(found, expected, strict=False)] == expected[: len(found)]
    assert [f["head"] for f in found] == [e["head"] for e in expected]
    for before, after in pairwise(outputs):
        if after.topic.startswith("handoff.queue."):
            assert (before.key, before.value) == (after.key, after.value)


def test_what_holds_for_every_scenario(story: Story) -> None:
    outputs, driver = play(story, each_time)
    later, _ = play(story, at_the_end)
    assert outputs == later, "the moments of commit are nobody's business"
    assert sum(n for (name, _, _), n in driver.counts.items() if name == "failed_wakes") == 0
    for output in outputs:
        if output.topic == "handoff.dead-letters" or (
            output.topic == FIGURES and output.value is None
        ):
            continue
        assert output.value is not None
        kind: Any = KINDS[dict(output.headers)["handoff-schema"]]
        assert msgspec.json.encode(msgspec.json.decode(output.value, type=kind)) == output.value


def _told(output: Output) -> Story:
    """A published record, with what it is in `head`."""
    topic, value = shown(output)
    headers = {name: text.decode() for name, text in output.headers}
    key = (output.key or b"").decode()
    match topic:
        case "handoff.dead-letters":
            return {"head": f"dead letter {headers['__streams.errors.exception']}"}
        case "handoff.figures":
            head = f"{'gone' if value is None else 'figures'} {key}"
            value = value or {}
        case "handoff.edges":
            head = f"edge {value['from']} -> {value['to']}"
        case "handoff.patterns":
            assert key == value["fingerprint"]
            head = f"{value['status']} {key}"
        case _:
            head = f"queue {topic}"
    return {"head": head, "headers": headers, "key": key, **value}


def _meant(entry: Story) -> Story:
    kind, name = next(iter(entry.items()))
    rest = {key: _written_out(value) for key, value in entry.items() if key != kind}
    return {"head": f"{kind} {name}", **rest}


def _written_out(value: Any) -> Any:
    if isinstance(value, str) and TIME.fullmatch(value):
        return msgspec.to_builtins(utc(ms(value)))
    return value


def _part_of(found: Story, expected: Story) -> Story:
    """What was found, cut down to the members that are expected."""
    part = {name: found.get(name, "not there") for name in expected}
    headers = expected.get("headers")
    if headers is not None:
        part["headers"] = {name: found["headers"].get(name) for name in headers}
    return part
