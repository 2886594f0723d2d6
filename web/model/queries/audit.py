"""The six questions of `handoff audit`, and three measures of how handoffs go, from the model."""

from datetime import date
from functools import lru_cache
from typing import Any

import apsw
import msgspec
from msgspec import Struct

from console import audit as six
from processors.insights.edges import percentile
from schemas import documents
from schemas.records import Edge
from schemas.serde import nearest_utc, utc
from web.model.filters import Filters, Span
from web.model.queries.common import Sums, of_lanes
from web.model.queries.ranges import in_all
from web.model.schema import NUMBER

_DAY_MS = 86_400_000
_counts = msgspec.json.Decoder(dict[str, int]).decode


class Measures(Struct, frozen=True):
    """Three measures of the handoffs that began in a range.

    Latency is from a handoff to its acceptance, in milliseconds within 5 %, of whole days (UTC).
    `completeness` is the mean share (0 to 1) of the required fields that the package had.
    `success` is the share completed without passing a deadline, of those sent and not superseded.
    """

    latency_ms_p50: int | None
    latency_ms_p95: int | None
    completeness: float | None
    success: float | None
    sums: Sums


class AuditPage(Struct, frozen=True):
    """The six answers, from all that was observed, and the measures of the range and of the one
    before."""

    audit: six.Audit
    now: Measures
    before: Measures


def audit(
    db: apsw.Connection, filters: Filters, now: int, before: Measures | None = None
) -> AuditPage:
    """The audit, of one workflow where one is asked for. `now` decides which owners are in
    force."""
    edges = [
        _edge(*row)
        for row in db.execute(
            "select kind, workflow, from_, to_, moves, tasks, documented, contract, counts, "
            "fidelity, completeness, completion_rate, open, accept_ms_p50, accept_ms_p95, "
            "first_seen, last_seen from edges where :workflow is null or workflow = :workflow",
            {"workflow": filters.workflow},
        )
    ]
    active = db.execute(
        "select count(*) from registry where topic = :topic and status = 'active' "
        "and (:workflow is null or workflow = :workflow)",
        {"topic": NUMBER["handoff.contracts"], "workflow": filters.workflow},
    ).get
    found = db.execute(
        "select document from registry where topic = ?", (NUMBER["handoff.receivers"],)
    )
    receivers = [_receiver(text) for (text,) in found]
    today: date = utc(now).date()
    return AuditPage(
        six.audit(edges, active, receivers, today),
        _measures(db, filters, filters.span(now)),
        before or earlier_measures(db, filters, now),
    )


@lru_cache(maxsize=2048)
def _receiver(text: str) -> documents.Receiver:
    found = documents.from_json(text.encode())
    assert isinstance(found, documents.Receiver)
    return found


def earlier_measures(db: apsw.Connection, filters: Filters, now: int) -> Measures:
    """The measures of the range before that of the filters."""
    return _measures(db, filters, filters.before(now))


def _measures(db: apsw.Connection, filters: Filters, span: Span) -> Measures:
    where, values = of_lanes(filters)
    buckets: dict[int, int] = {}
    for bucket, number in db.execute(
        "select x.bucket, sum(x.n) from lanes l join latencies x on x.lane = l.id "
        f"and x.day >= :since_day and x.day <= :until_day where {where} group by x.bucket",
        {
            **values,
            "since_day": span.since // _DAY_MS,
            "until_day": (span.until - 1) // _DAY_MS,
        },
    ):
        buckets[bucket] = number
    found = in_all(db, filters, span)
    expected = found.sent - found.superseded
    return Measures(
        percentile(buckets, 0.5),
        percentile(buckets, 0.95),
        found.completeness,
        min(found.in_time / expected, 1.0) if expected > 0 else None,
        found,
    )


def _edge(
    kind: Any, workflow: str, from_: str, to: str, moves: int, tasks: int, documented: int,
    contract: str | None, counts: str, fidelity: float | None, completeness: float | None,
    completion_rate: float | None, open_: int | None, p50: int | None, p95: int | None,
    first_seen: int, last_seen: int,
) -> Edge:  # fmt: skip
    return Edge(
        kind=kind,
        workflow=workflow,
        from_=from_,
        to=to,
        moves=moves,
        tasks=tasks,
        documented=bool(documented),
        contract=contract,
        fields={},
        types={},
        counts=_counts(counts),
        fidelity=fidelity,
        completeness=completeness,
        completion_rate=completion_rate,
        open=open_,
        accept_ms_p50=p50,
        accept_ms_p95=p95,
        first_seen=nearest_utc(first_seen),
        last_seen=nearest_utc(last_seen),
    )
