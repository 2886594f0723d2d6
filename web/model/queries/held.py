"""What is held, and one handoff with all that a person needs to mend it."""

from typing import Any

import apsw
from msgspec import Struct

from web.model.filters import Filters
from web.model.queries.amendments import Request, asked_of
from web.model.queries.common import (
    ROWS,
    Place,
    Values,
    after,
    cursor_of,
    listed,
    of_lanes,
    place,
    rows,
)


class Why(Struct, frozen=True):
    """A violation of a handoff. The record at `place` has its message; `origin` is the record where
    a lost value was last had, by `origin_tool` at `origin_stage`."""

    id: str
    status: str
    kind: str
    severity: str
    field: str | None
    rule: str | None
    owner: str | None
    owner_contact: str | None
    fingerprint: str | None
    at: int
    resolved_at: int | None
    resolution: str | None
    origin_tool: str | None
    origin_stage: str | None
    origin: Place | None
    last_hop: int | None
    place: Place


class HeldRow(Struct, frozen=True):
    """A held handoff. `why` has its open violations, `pending` what was asked and not answered.
    Times are epoch ms; `fidelity` is 0 to 1."""

    id: str
    revision: int
    task_id: str
    workflow: str
    contract: str | None
    contract_version: int | None
    from_team: str | None
    from_stage: str
    from_tool: str
    receiver: str
    to_team: str | None
    owner: str | None
    owner_contact: str | None
    since: int
    fidelity: float | None
    missing: list[str]
    why: list[Why]
    pending: list[Request]
    place: Place


class HeldPage(Struct, frozen=True):
    """Held handoffs, those that wait longest first."""

    rows: list[HeldRow]
    next: str | None


class HeldOne(Struct, frozen=True):
    """One handoff that is, or was, held.

    `held` is None where it is held no more; then `state` says what became of it and `place` where
    its newest package lies. `asked` are all requests, `violations` all of it, resolved ones too.
    """

    id: str
    held: HeldRow | None
    state: str | None
    state_at: int | None
    task_id: str | None
    workflow: str | None
    revision: int | None
    place: Place | None
    asked: list[Request]
    violations: list[Why]


_HELD = (
    "select h.*, l.contract, l.from_team, l.from_stage, l.receiver, l.to_team, l.owner "
    "from held h join lanes l on l.id = h.lane"
)


def held_filter(filters: Filters) -> tuple[str, Values]:
    """The condition that held handoffs `h` in lanes `l` fulfil; it has an open violation of the
    kind and severity where these are asked for."""
    where, values = of_lanes(filters)
    for name in ("kind", "severity"):
        wanted = getattr(filters, name)
        if wanted is not None:
            where += (
                " and exists (select 1 from violations v where v.handoff_id = h.id "
                f"and v.status = 'opened' and v.{name} = :{name})"
            )
            values[name] = wanted
    return where, values


def held(
    db: apsw.Connection, filters: Filters, page: str | None = None, limit: int = ROWS
) -> HeldPage:
    """What is held now and fits, longest first. The range of time is not looked at: what is held
    is held now. `page` is the `next` of the page before. Raises `CursorError`."""
    where, values = held_filter(filters)
    last = after(page)
    if last is not None:
        where += " and (h.since, h.id) > (:last_since, :last_id)"
        values["last_since"], values["last_id"] = last
    found = rows(
        db,
        f"{_HELD} where {where} order by h.since, h.id limit {limit + 1}",
        values,
    )
    told = _told(db, found[:limit])
    more = cursor_of(told[-1].since, told[-1].id) if len(found) > limit else None
    return HeldPage(told, more)


def held_one(db: apsw.Connection, handoff_id: str) -> HeldOne | None:
    """One handoff; None where the model knows nothing of it."""
    of: Values = {"id": handoff_id}
    now = _told(db, rows(db, f"{_HELD} where h.id = :id", of))
    known = rows(db, "select * from handoffs where id = :id", of)
    if not now and not known:
        return None
    row = known[0] if known else {}
    lies = (
        place(row["topic"], row["partition"], row["offset"])
        if row.get("topic") is not None
        else now[0].place
        if now
        else None
    )
    first = now[0] if now else None
    return HeldOne(
        id=handoff_id,
        held=first,
        state=row.get("state") or row.get("disposition") or ("held" if now else None),
        state_at=row.get("state_at"),
        task_id=row.get("task_id") or (first.task_id if first else None),
        workflow=row.get("workflow") or (first.workflow if first else None),
        revision=first.revision if first else row.get("revision"),
        place=lies,
        asked=asked_of(db, [handoff_id]).get(handoff_id, []),
        violations=reasons(db, handoff_id),
    )


def reasons(db: apsw.Connection, handoff_id: str, opened: bool = False) -> list[Why]:
    """The violations of a handoff (at most 100), open ones first."""
    found = rows(
        db,
        "select * from violations where handoff_id = :id "
        + ("and status = 'opened' " if opened else "")
        + "order by status, at, id limit 100",
        {"id": handoff_id},
    )
    return [_why(each) for each in found]


def _told(db: apsw.Connection, found: list[dict[str, Any]]) -> list[HeldRow]:
    asked = asked_of(db, [each["id"] for each in found])
    return [
        HeldRow(
            id=each["id"],
            revision=each["revision"],
            task_id=each["task_id"],
            workflow=each["workflow"],
            contract=each["contract"] or None,
            contract_version=each["contract_version"],
            from_team=each["from_team"] or None,
            from_stage=each["from_stage"],
            from_tool=each["from_tool"],
            receiver=each["receiver"],
            to_team=each["to_team"] or None,
            owner=each["owner"] or None,
            owner_contact=each["owner_contact"],
            since=each["since"],
            fidelity=None if each["fidelity"] is None else each["fidelity"] / 1_000_000,
            missing=listed(each["missing"]),
            why=reasons(db, each["id"], opened=True),
            pending=[one for one in asked.get(each["id"], []) if one.answered is None],
            place=place("handoff.held", each["partition"], each["offset"]),
        )
        for each in found
    ]


def _why(row: dict[str, Any]) -> Why:
    origin = None
    if row["origin_topic"] is not None:
        origin = place(row["origin_topic"], row["origin_partition"], row["origin_offset"])
    return Why(
        id=row["id"],
        status=row["status"],
        kind=row["kind"],
        severity=row["severity"],
        field=row["field"],
        rule=row["rule"],
        owner=row["owner"],
        owner_contact=row["owner_contact"],
        fingerprint=row["fingerprint"],
        at=row["at"],
        resolved_at=row["resolved_at"],
        resolution=row["resolution"],
        origin_tool=row["origin_tool"],
        origin_stage=row["origin_stage"],
        origin=origin,
        last_hop=row["last_hop"],
        place=place("handoff.violations", row["partition"], row["offset"]),
    )
