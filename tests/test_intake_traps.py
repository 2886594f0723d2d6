"""Sources and the integrity core together: what a source must get right, and what a naive one does.

Three traps: a webhook shows the state after the change; two outputs of one event are not one; the
assignment of a ticket is no acceptance.
"""

import json
from collections import Counter
from typing import Any

import pytest

from console.dry_run import DryRun
from console.samples import Samples
from console.source_trial import line_of
from processors.intake.compiled import compile_source
from processors.intake.mapping import map_record
from processors.integrity.processor import INTEGRITY
from schemas import documents
from schemas.documents import Document
from schemas.flow import Output, Record
from schemas.sources import Source
from tests.intake import EXAMPLES, NOW, example, source

MINUTE = 60_000


def contract(**members: Any) -> Document:
    return documents.parse(
        {
            "kind": "HandoffContract",
            "id": "to-second",
            "version": 1,
            "owner": {"name": "Ana Silva", "contact": "ana@example.com"},
            "action": "Find the cause.",
            "workflow": "ticket",
            "from": {"team": "first", "stage": "first"},
            "to": {"receiver": "second", "stage": "second"},
            "accept_within": "PT10M",
            "fields": [{"name": "notes"}],
            **members,
        }
    )


def receiver(name: str) -> Document:
    owner = {"name": "Priya Nair", "contact": "priya@example.com"}
    return documents.parse({"kind": "Receiver", "id": name, "team": name, "owners": [owner]})


DOCUMENTS = (contract(), receiver("first"), receiver("second"))


def judged(given: Source, records: list[Record], documents_: Any = DOCUMENTS) -> list[Output]:
    """What integrity publishes of what records become, an hour after the last."""
    tables: dict[str, dict[str, bytes]] = {"handoff.contracts": {}, "handoff.receivers": {}}
    for each in documents_:
        kind = "handoff.receivers" if each.kind == "Receiver" else "handoff.contracts"
        tables[kind][documents.key(each)] = documents.to_json(each)
    compiled = compile_source(given)
    lines = []
    for number, record in enumerate(records, start=1):
        found = map_record(compiled, record, NOW)
        assert found.refused is None, found.refused
        for made in found.records:
            lines.append(line_of(number, made, json.loads(made.value or b"")))
    until = max(line.occurred_at or 0 for line in lines) + 60 * MINUTE
    return list(DryRun(INTEGRITY, tables, 6).run(lines, until))


def packages(outputs: list[Output]) -> list[Any]:
    return [json.loads(o.value or b"") for o in outputs if o.topic == "handoff.packages"]


def kinds(outputs: list[Output]) -> Counter[str]:
    """The violations that opened, by kind."""
    found: Counter[str] = Counter()
    for each in outputs:
        if each.topic == "handoff.violations":
            body = json.loads(each.value or b"")
            found[body["kind"]] += body["status"] == "opened"
    return found


def change(minute: int, op: str, before: Any, after: Any) -> Record:
    value = {
        "before": before,
        "after": after,
        "op": op,
        "source": {"lsn": 100 + minute, "ts_ms": NOW + minute * MINUTE},
        "ts_ms": NOW,
    }
    return Record("t", 0, minute, b'{"id": 7}', json.dumps(value).encode(), NOW, [])


def row(owner: str | None, notes: str | None = "the cable is loose") -> dict[str, Any]:
    return {"id": 7, "owner": owner, "notes": notes}


def tickets(
    accepts: Any = "was == null || was == is", carries: str = "record", **more: Any
) -> Source:
    """The tickets of a change log, done right unless told otherwise."""
    shared = {
        "task": "T-{key.id}",
        "workflow": {"value": "ticket"},
        "tool": {"value": "desk"},
        "occurred_at": "value.source.ts_ms",
        "id": "{value.source.lsn}",
    }
    leaving = {
        "when": 'value.op == "u" && was != null && was != is',
        "stage": "was",
        "handoff": {"to": "is", "carries": carries},
    }
    being = {
        "when": 'value.op in ["c", "u"]',
        "stage": "is",
        "accepts": accepts,
        "context": {"*": "value.after", "without": ["owner"]},
    }
    return source(
        topic="t",
        decode="debezium",
        let={"was": "value.before.owner", "is": "value.after.owner"},
        defaults=shared,
        emit=[{**leaving, **more}, being],
    )


HANDED_OVER = [
    change(0, "c", None, row("first")),
    change(5, "u", row("first"), row("second", None)),
]


def test_a_change_of_owner_is_one_handoff_from_who_had_it() -> None:
    outputs = judged(tickets(), HANDED_OVER)
    (package,) = packages(outputs)
    assert package["from"]["stage"] == "first"
    assert package["to"]["receiver"] == "second"
    assert package["contract"] == "to-second"
    # The assignment is no acceptance: nobody touches the ticket for an hour.
    assert kinds(outputs) == {"not_accepted": 1}


def test_who_takes_the_state_after_the_change_makes_the_receiver_the_sender() -> None:
    """The trap itself, so that the test above is known to be able to fail."""
    outputs = judged(tickets(stage="is"), HANDED_OVER)
    assert kinds(outputs)["contract_missing"] or kinds(outputs)["handoff_missing"]


def test_leaving_and_entering_are_two_outputs_of_one_event() -> None:
    outputs = judged(tickets(), [*HANDED_OVER, *HANDED_OVER])  # the second time is a replay
    assert len(packages(outputs)) == 1
    found = map_record(compile_source(tickets()), HANDED_OVER[1], NOW)
    assert [json.loads(each.value or b"")["id"] for each in found.records] == ["105", "105#2"]


def test_the_first_touch_accepts() -> None:
    touched = change(9, "u", row("second", None), row("second", "looked at it"))
    assert kinds(judged(tickets(), [*HANDED_OVER, touched])) == {}
    late = change(30, "u", row("second", None), row("second", "looked at it"))
    assert kinds(judged(tickets(), [*HANDED_OVER, late])) == {"not_accepted": 1}


def test_an_assignment_that_would_accept_hides_that_nobody_did() -> None:
    assert kinds(judged(tickets(accepts=True), HANDED_OVER))["not_accepted"] == 0


def test_what_everybody_sees_in_the_ticket_is_not_dropped() -> None:
    outputs = judged(tickets(), HANDED_OVER)
    (package,) = packages(outputs)
    assert package["context"]["notes"] == "the cable is loose"
    assert package["fidelity"] == 1.0
    assert "context_dropped" in kinds(judged(tickets(carries="context"), HANDED_OVER))


# --- the examples ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "file", "expected"),
    [
        ("pagerduty", "webhooks.jsonl", {"never_captured": 1}),
        ("debezium-tickets", "changes.jsonl", {"never_captured": 1, "not_accepted": 1}),
    ],
)
def test_an_example_is_one_handoff(name: str, file: str, expected: dict[str, int]) -> None:
    found = example(name)
    (given,) = found.intake_sources
    records = [
        each for _, each in Samples(str(EXAMPLES / name / file), None, 1).read(given.topic[0], NOW)
    ]
    outputs = judged(given, records, (*found.contracts, *found.receivers))
    (package,) = [each for each in packages(outputs) if each["revision"] == 1]
    assert package["contract"] == found.contracts[0].id
    assert {kind: n for kind, n in kinds(outputs).items() if n} == expected
