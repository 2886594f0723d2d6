"""What was made of a record is freed at once. In a processor the garbage collector runs seldom: a
cycle would keep the record until then, with all that was read from it."""

import gc
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from processors.intake.processor import intake
from processors.intake.registry import build_tables
from processors.processor import Relayed
from schemas import sources
from tests.intake import NOW, event, record, source
from tests.test_traces import SENT

RECORDS = 50
LOOKUPS = {"lookups": {"s": {"a": "b"}}}
SKIPS = {"lookup": "s", "by": "it", "else": "skip"}
SKIPS_ALL = {"emit": [{"each": "value.k", "stage": {**SKIPS, "by": "value.id"}}], **LOOKUPS}
SPANS = {"decode": "agents-sdk", "defaults": {}, "emit": [], "override": {"task": "value.id"}}


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize(
    ("members", "value", "outcome"),
    [
        ({"when": 'value.k == "a"'}, event(k="a"), "mapped"),
        ({"when": 'value.k == "b"'}, event(k="a"), "left_out"),
        ({"when": "value.k > 1"}, event(k="a"), "dead_letters"),
        ({"let": {"k": "value.k"}, "when": "k.size() == 1"}, event(k=["a"]), "mapped"),
        ({"emit": [{"each": "value.k", "stage": SKIPS}], **LOOKUPS}, event(k=["a", "c"]), "mapped"),
        ({"emit": [{"each": "value.k", "stage": SKIPS}], **LOOKUPS}, event(k=["c"]), "left_out"),
        (SKIPS_ALL, event(k=["a", "c"]), "left_out"),
        ({}, event(at="soon"), "dead_letters"),
        ({}, {}, "dead_letters"),
        ({}, b"{", "dead_letters"),
        ({}, b"[" * 200, "dead_letters"),
        ({}, b'"' + b" " * 2_000 + b'"', "dead_letters"),
        (
            {"emit": [{"stage": {"value": "s"}, "context": {"*": "value"}}]},
            event(k="a" * 980),
            "dead_letters",
        ),
        (SPANS, SENT, "mapped"),
        (SPANS, b"{", "dead_letters"),
    ],
)
def test_nothing_is_left_to_the_garbage_collector(
    members: dict[str, Any], value: Any, outcome: str
) -> None:
    registered = {sources.TOPIC: {"desk": sources.to_json(source(**members))}}
    tables, step = build_tables(registered, None), intake(1_000, 1).step
    given = record(value)
    done = Relayed([], counted=Counter())
    gc.collect()
    for _ in range(RECORDS):
        step(done, given, tables, NOW, None)
    assert gc.collect() < RECORDS
    assert outcome in {what for _, what, _ in done.counted}
