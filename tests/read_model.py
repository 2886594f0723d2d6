"""A story as records on the topics, for the tests of the read model, and what a file holds."""

import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import apsw
from ruamel.yaml import YAML

from console.dry_run import DryRun
from console.lines import Line
from processors.insights.limits import Limits as InsightsLimits
from processors.integrity.limits import Limits
from processors.integrity.processor import integrity
from processors.partitioning import partition_of
from schemas import documents
from schemas.flow import Record
from web.model.schema import NUMBER
from web.model.store import Partition, Position, Store

CANARY: Final = "CANARY-4455667788"
START: Final = int(datetime(2026, 3, 2, 10, tzinfo=UTC).timestamp() * 1000)
MINUTE: Final = 60_000
SINGLE: Final = ("handoff.patterns", "handoff.edges", "handoff.contracts", "handoff.receivers")

_DOCUMENTS: Final = """
- kind: HandoffContract
  id: lead
  version: 1
  owner: {name: Ana Silva, contact: ana@example.com}
  action: Call them.
  workflow: sales
  from: {team: hunters, stage: qualify}
  to: {receiver: nurture, stage: nurture}
  hold_on: [context_unstructured]
  accept_within: PT1H
  fields:
    - {name: email, classification: pii, rebuild: false}
    - {name: budget, type: integer, rebuild: false}
- kind: Receiver
  id: nurture
  team: farmers
  owners: [{name: Dana Reyes, contact: dana@example.com}]
"""
_TOPIC: Final = {"HandoffContract": "handoff.contracts", "Receiver": "handoff.receivers"}


def story() -> list[Record]:
    """Thirty leads: every third loses its e-mail address and is held, one of these is amended and
    one discarded, some are accepted, others stall. One goes on under another name. All values, and
    what people typed, hold the canary."""
    lines = [
        _line(
            "handoff.contracts" if each["kind"] == "HandoffContract" else "handoff.receivers", each
        )
        for each in YAML(typ="safe").load(_DOCUMENTS)
    ]
    for number in range(30):
        at = START + number * MINUTE
        context = {"budget": 7, "note": CANARY} | ({} if number % 3 == 0 else {"email": CANARY})
        lines.append(_output(number, at, "capture", "form", {"email": CANARY}))
        handoff = {"to": "nurture", "note": CANARY}
        lines.append(_output(number, at + 1000, "qualify", "crm", context, handoff=handoff))
    first = START + 31 * MINUTE
    lines.append(_output(1, first, "nurture", "mailer", {"mail": CANARY}))
    ack = {"id": "a-2", "status": "rejected", "by": "Dana Reyes", "reason": CANARY}
    lines.append(_said("handoff.acks", 2, first, ack))
    other = _output(
        100, first, "triage", "tracker", {"email": CANARY}, continues={"task_id": "t-4"}
    )
    lines.append(other)
    ids = {each: handoff_id(lines, each) for each in ("t-0", "t-3")}
    amend = {"id": "m-0", "action": "set", "fields": {"email": CANARY}, "handoff_id": ids["t-0"]}
    lines.append(
        _said("handoff.amendments", 0, first + 1000, amend | {"by": "Ilse", "reason": CANARY})
    )
    gone = {"id": "m-3", "action": "discard", "handoff_id": ids["t-3"], "by": "Ilse"}
    lines.append(_said("handoff.amendments", 3, first + 2000, gone | {"reason": CANARY}))
    nobody = {"id": "m-9", "action": "release", "handoff_id": "h-none", "by": "Ilse"}
    lines.append(_said("handoff.amendments", 9, first + 3000, nobody | {"reason": CANARY}))
    return published(lines, until=START + 5 * 60 * MINUTE)


def handoff_id(lines: list[Line], task: str) -> str:
    """The id of the only handoff of a task."""
    for record in published(lines, START):
        if record.topic in ("handoff.held", "handoff.packages") and record.value is not None:
            found = json.loads(record.value)
            if found["task_id"] == task:
                return str(found["id"])
    raise AssertionError(task)


def published(lines: list[Line], until: int) -> list[Record]:
    """What lies on the topics after these inputs, in the order in which it was written."""
    dry = DryRun(integrity(Limits()), {}, 6, None, InsightsLimits())
    offsets: Counter[Partition] = Counter()
    found: list[Record] = []

    def put(topic: str, key: bytes, value: bytes | None, headers: Any, at: int) -> None:
        if topic not in NUMBER:
            return
        partition = 0 if topic in SINGLE else partition_of(key, 6)
        offset = offsets[topic, partition]
        offsets[topic, partition] += 1
        found.append(Record(topic, partition, offset, key, value, at, headers))

    for line in lines:
        key = line.key or b""
        value = line.value
        if line.topic in ("handoff.contracts", "handoff.receivers"):
            document = documents.from_json(value)
            key, value = documents.key(document).encode(), documents.to_json(document)
        put(line.topic, key, value, [], line.occurred_at or START)
    for output in dry.run(lines, until):
        put(output.topic, output.key or b"", output.value, output.headers, dry.now)
    return found


def fill(store: Store, records: Iterable[Record], batch: int = 50) -> None:
    """Write records as the builder does."""
    records = list(records)
    for begin in range(0, len(records), batch):
        some = records[begin : begin + batch]
        positions = {
            (each.topic, each.partition): Position(each.offset + 1, each.offset + 1)
            for each in some
        }
        store.write(some, positions)


def dump(path: Path) -> dict[str, list[Any]]:
    """All rows of a file, with lanes by their names: the numbers of rows do not count."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    lanes = {row[0]: row[1:] for row in db.execute("select * from lanes")}
    tables = [name for (name,) in db.execute("select name from sqlite_schema where type = 'table'")]
    found: dict[str, list[Any]] = {}
    for table in tables:
        if table in ("meta", "lanes") or table.startswith("sqlite"):
            continue
        names = [
            each[1]
            for each in db.execute(f"pragma table_info({table})")
            if each[1] != "n" or table in ("latencies", "breaks")
        ]
        rows = db.execute(f"select {', '.join(names)} from {table}").fetchall()
        at = names.index("lane") if "lane" in names else None
        found[table] = sorted(
            (
                row if at is None else (*row[:at], lanes.get(row[at]), *row[at + 1 :])
                for row in rows
            ),
            key=repr,
        )
    db.close()
    return found


def _line(topic: str, value: dict[str, Any], at: int = START, key: str = "") -> Line:
    return Line(1, topic, key.encode() or None, json.dumps(value).encode(), at, None)


def _said(topic: str, task: int, at: int, value: dict[str, Any]) -> Line:
    body = {"workflow": "sales", "task_id": f"t-{task}", "occurred_at": at, **value}
    return _line(topic, body, at, f"t-{task}")


def _output(
    task: int, at: int, stage: str, tool: str, context: dict[str, Any], **more: Any
) -> Line:
    body = {"id": f"e-{task}-{stage}", "stage": stage, "tool": tool, "context": context, **more}
    return _said("handoff.tool-outputs", task, at, body)
