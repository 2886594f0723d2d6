"""Edges for tests, in few words."""

from datetime import UTC, datetime
from typing import Any

from schemas.records import Edge

FIRST = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
LAST = datetime(2026, 3, 5, 17, 30, tzinfo=UTC)


def move(
    from_: str, to: str, moves: int, counts: dict[str, int] | None = None, **more: Any
) -> Edge:
    """A move; all of them bare and without a contract, unless `counts` say otherwise."""
    found = {"moves": moves, "tasks": moves, "bare": moves, "uncovered": moves} | (counts or {})
    return _edge("move", from_, to, moves, found, **more)


def handoff(
    from_: str, to: str, moves: int, counts: dict[str, int] | None = None, **more: Any
) -> Edge:
    """Handoffs: on a contract, owned, promised, sent and accepted, unless told otherwise."""
    names = ("moves", "tasks", "judged", "owned", "promised", "declared", "sent", "accepted")
    figures = {
        "documented": True,
        "contract": "c",
        "fidelity": 1.0,
        "completeness": 1.0,
        "completion_rate": 1.0,
        "open": 0,
        "accept_ms_p50": 5_400_000,
        "accept_ms_p95": 93_600_000,
    }
    found = dict.fromkeys(names, moves) | (counts or {})
    return _edge("handoff", from_, to, moves, found, **figures | more)


def _edge(kind: Any, from_: str, to: str, moves: int, counts: dict[str, int], **more: Any) -> Edge:
    figures: dict[str, Any] = {
        "documented": False,
        "contract": None,
        "fields": {},
        "types": {},
        "fidelity": None,
        "completeness": None,
        "completion_rate": None,
        "open": None,
        "accept_ms_p50": None,
        "accept_ms_p95": None,
        "first_seen": FIRST,
        "last_seen": LAST,
        "workflow": "w",
        "tasks": moves,
    }
    return Edge(kind=kind, from_=from_, to=to, moves=moves, counts=counts, **figures | more)
