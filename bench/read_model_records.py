"""Records as the processors publish them, for the read model's measurements. The same each time."""

import argparse
import itertools
import random
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from processors.partitioning import partition_of
from schemas import documents
from schemas.feed import EDGE_COUNTS, subject
from schemas.flow import Record
from schemas.records import Edge, From, Package, Pattern, Provenance, Signal, To, Violation
from schemas.serde import utc
from web.model.store import Position, Store

PARTITIONS: Final = 6
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
RECORDS: Final = 8  # of a handoff, on average
_RECEIVERS, _CONTRACTS = 400, 800
_FIELDS: Final = ("account", "amount", "contact", "due", "intent", "product", "region", "summary")
_encode = msgspec.json.Encoder().encode


class HandoffTraffic:
    """Tasks that are handed over edges, evenly over some days before `until` (epoch ms).

    About eight records a handoff: outputs, its package, its signals, some violations and acks.
    """

    def __init__(self, edges: int, tasks: int, until: int, days: int = 14) -> None:
        self._random = random.Random(7)
        self._edges = [self._edge(number) for number in range(edges)]
        self._tasks, self._until, self._days_long = tasks, until, days
        self._offsets: dict[tuple[str, int], int] = {}
        self.now = until - days * DAY_MS

    def _edge(self, number: int) -> dict[str, str]:
        workflow = f"workflow-{number % 40}"
        return {
            "workflow": workflow,
            "from": f"stage-{number // 40}",
            "receiver": f"receiver-{number % _RECEIVERS}",
            "contract": f"contract-{number % _CONTRACTS}",
            "from_team": f"team-{number % 25}",
            "to_team": f"team-{number % _RECEIVERS % 25}",
            "owner": f"Owner {number % 60}",
        }

    def tables(self) -> Iterator[Record]:
        """Contracts and receivers, edges, the moves of each day over them, and patterns: one record
        a key."""
        yield from self._documents()
        for number, edge in enumerate(self._edges):
            moves = 5_000 // (number + 1) + 5
            common: dict[str, Any] = {
                "workflow": edge["workflow"],
                "from_": edge["from"],
                "moves": moves,
                "tasks": moves,
                "documented": number % 3 > 0,
                "contract": edge["contract"],
                "fields": dict.fromkeys(_FIELDS, 0.9),
                "types": {name: ["string"] for name in _FIELDS},
                "counts": dict.fromkeys(EDGE_COUNTS, moves),
                "fidelity": 0.8,
                "completeness": 0.9,
                "completion_rate": 0.7,
                "open": 3,
                "accept_ms_p50": 60_000,
                "accept_ms_p95": 600_000,
                "first_seen": utc(self.now),
                "last_seen": utc(self._until),
            }
            kind = "handoff" if number % 2 else "move"
            to = edge["receiver"] if number % 2 else f"stage-{number // 40 + 1}"
            made = Edge(kind=kind, to=to, **common)  # type: ignore[arg-type]
            key = subject(kind, *self._ends(made))
            yield self._record("handoff.edges", key, made, single=True)
            if kind == "move":
                yield from self._days(key, moves)
        for number in range(300):
            edge = self._edges[number * 7 % len(self._edges)]
            fingerprint = subject("contract", edge["contract"], "context_dropped", _FIELDS[0])
            yield self._record(
                "handoff.patterns", fingerprint, self._pattern(fingerprint, edge), single=True
            )

    def _documents(self) -> Iterator[Record]:
        for edge in self._edges[:_RECEIVERS]:
            team, owner = edge["to_team"], {"name": edge["owner"], "contact": "x@example.org"}
            yield self._document(kind="Receiver", id=edge["receiver"], team=team, owners=[owner])
        for number, edge in enumerate(self._edges[:_CONTRACTS]):
            yield self._document(
                kind="HandoffContract",
                id=edge["contract"],
                version=1,
                owner={"name": edge["owner"], "contact": "x@example.org"},
                action="Do it.",
                workflow=edge["workflow"],
                accept_within="PT1H",
                fields=[{"name": name, "type": "string"} for name in _FIELDS],
                to={"receiver": edge["receiver"], "stage": f"stage-{number // 40 + 1}"},
                **{"from": {"team": edge["from_team"], "stage": edge["from"]}},
            )

    def _document(self, **members: Any) -> Record:
        document = documents.from_json(_encode(members))
        topic = "receivers" if document.kind == "Receiver" else "contracts"
        key = documents.key(document)
        value = msgspec.Raw(documents.to_json(document))
        return self._record(f"handoff.{topic}", key, value, single=True)

    def _days(self, edge: str, moves: int) -> Iterator[Record]:
        """The figures of an edge of moves, folded to days."""
        for day in range(self._days_long + 1):
            since = self.now // DAY_MS * DAY_MS + day * DAY_MS
            figures = {
                "kind": "move",
                "since": utc(since),
                "until": utc(since + DAY_MS),
                "counts": {"moves": moves // self._days_long + 1},
                "lost_fields": {},
            }
            yield self._record("handoff.figures", f"{edge}/{since}", figures)

    @staticmethod
    def _ends(edge: Edge) -> tuple[str, str, str]:
        return edge.workflow, edge.from_, edge.to

    def _pattern(self, fingerprint: str, edge: dict[str, str]) -> Pattern:
        return Pattern(
            id=f"{fingerprint}@{self.now}",
            status="opened",
            kind="context_dropped",
            fingerprint=fingerprint,
            severity=self._random.choice(["error", "warning"]),
            workflow=edge["workflow"],
            contract=edge["contract"],
            receiver=edge["receiver"],
            from_=edge["from"],
            to=None,
            field=_FIELDS[0],
            owner=edge["owner"],
            count=self._random.randrange(1000),
            recent=self._random.randrange(100),
            rate=1.5,
            first_seen=utc(self.now),
            last_seen=utc(self._until),
            stages={edge["from"]: 3},
            tools={"crm": 3},
            tasks=["task-1", "task-2"],
            values=None,
            message="It breaks.",
            at=utc(self._until),
            backfill=False,
        )

    def handoffs(self, count: int, after: float = 125.0) -> Iterator[Record]:
        """The records of `count` handoffs, evenly over the days; then on and on, `after` of them a
        second."""
        step = max(1, (self._until - self.now) // count)
        for number in itertools.count():
            self.now += step if number < count else max(1, int(1000 / after))
            yield from self._handoff(number)

    def _handoff(self, number: int) -> Iterator[Record]:
        # A few edges have most of the traffic.
        edge = self._edges[int(len(self._edges) * self._random.random() ** 2.5)]
        task = f"task-{number % self._tasks}"
        at, workflow = self.now, edge["workflow"]
        for step in range(3):
            yield self._record(
                "handoff.tool-outputs",
                task,
                {
                    "id": f"e-{number}-{step}",
                    "task_id": task,
                    "workflow": workflow,
                    "tool": "crm",
                    "stage": edge["from"],
                    "occurred_at": at,
                    "context": dict.fromkeys(_FIELDS, "some value of a context"),
                },
            )
        dropped = self._random.random() < 0.3
        held = self._random.random() < 0.01
        id_ = f"h-{number:032x}"
        package = self._package(id_, number, task, edge, at, dropped, held)
        if held:
            yield self._record("handoff.held", id_, package)
        else:
            yield self._record("handoff.packages", task, package)
        kinds = ["held"] if held else ["sent", "accepted", "completed"]
        if not held and self._random.random() < 0.05:
            kinds = ["sent", "stalled"]
        for order, kind in enumerate(kinds):
            signal = Signal(
                f"{id_}:{order}:{kind}",
                kind,  # type: ignore[arg-type]
                False,
                None,
                id_,
                task,
                edge["from_team"],
                edge["receiver"],
                edge["owner"],
                "It is so.",
                utc(at + order * 600_000),
                utc(at + order * 600_000),
                False,
            )
            yield self._record("handoff.signals", task, signal)
        if dropped:
            for status in ("opened", "resolved") if self._random.random() < 0.5 else ("opened",):
                yield self._record(
                    "handoff.violations", task, self._violation(id_, task, edge, at, status, held)
                )
        if self._random.random() < 0.3:
            yield self._record(
                "handoff.acks",
                task,
                {
                    "id": f"a-{number}",
                    "workflow": workflow,
                    "task_id": task,
                    "handoff_id": id_,
                    "status": "accepted",
                    "by": edge["owner"],
                    "occurred_at": at,
                },
            )

    def _package(
        self,
        id_: str,
        number: int,
        task: str,
        edge: dict[str, str],
        at: int,
        dropped: bool,
        held: bool,
    ) -> Package:
        came = Provenance("arrived", edge["from"], "crm", f"e-{number}-2", utc(at), 1)
        return Package(
            id=id_,
            revision=1,
            task_id=task,
            event_id=f"e-{number}-2",
            workflow=edge["workflow"],
            contract=edge["contract"],
            contract_version=1,
            from_=From(edge["from_team"], edge["from"], "crm"),
            to=To(edge["receiver"], edge["to_team"], None, edge["owner"], "x@example.org"),
            disposition="held" if held else "sent",
            action="Do it.",
            begun="declared",
            context=dict.fromkeys(_FIELDS, msgspec.Raw(b'"some value of a context"')),
            provenance=dict.fromkeys(_FIELDS, came),
            missing=["account"] if dropped else [],
            fidelity=0.875 if dropped else 1.0,
            completeness=0.9 if dropped else 1.0,
            violations=[f"{id_}:1:context_dropped:account"] if dropped else [],
            overridden=False,
            supersedes=None,
            accept_by=utc(at + HOUR_MS),
            complete_by=None,
            note=None,
            occurred_at=utc(at),
            sent_at=None if held else utc(at),
            hop=1,
            backfill=False,
        )

    def _violation(
        self, id_: str, task: str, edge: dict[str, str], at: int, status: str, held: bool
    ) -> Violation:
        return Violation(
            id=f"{id_}:1:context_dropped:account",
            status=status,  # type: ignore[arg-type]
            kind="context_dropped",
            severity="warning",
            task_id=task,
            handoff_id=id_,
            event_id="e",
            workflow=edge["workflow"],
            contract=edge["contract"],
            contract_version=1,
            episode=1,
            field="account",
            rule=None,
            from_=From(edge["from_team"], edge["from"], "crm"),
            to=To(edge["receiver"], edge["to_team"], None, edge["owner"], "x@example.org"),
            owner=edge["owner"],
            owner_contact="x@example.org",
            origin=None,
            candidates=None,
            last_seen_hop=None,
            hop=1,
            disposition="held" if held else "sent",
            message="It was dropped.",
            reason=None,
            resolution="late" if status == "resolved" else None,
            found_in=None,
            occurred_at=utc(at),
            detected_at=utc(at),
            resolved_at=utc(at) if status == "resolved" else None,
            backfill=False,
        )

    def _record(self, topic: str, key: str, value: Any, single: bool = False) -> Record:
        partition = 0 if single else partition_of(key.encode(), PARTITIONS)
        offset = self._offsets.get((topic, partition), 0)
        self._offsets[topic, partition] = offset + 1
        return Record(topic, partition, offset, key.encode(), _encode(value), self.now)


def add_traffic(parser: argparse.ArgumentParser) -> None:
    """Let a benchmark be asked for how much of it."""
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--edges", type=int, default=2_500)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--rate", type=int, default=1_000, help="records a second meanwhile")


def apply(store: Store, batch: list[Record]) -> frozenset[str]:
    """Write a batch of records and the positions after it; the kinds of what changed."""
    after = {
        (each.topic, each.partition): Position(each.offset + 1, each.offset + 1) for each in batch
    }
    return store.write(batch, after)
