"""What a team sent and got, against the range before."""

from typing import Final

import apsw
from msgspec import Struct

from web.model.filters import Filters
from web.model.queries.common import SUMMED, Sums, of_lanes, rows, sums, within
from web.model.queries.ranges import Lost, in_all, losses

_MOST: Final = 50


class Side(Struct, frozen=True):
    """What a team sent, or got, in the range and in the one before."""

    now: Sums
    before: Sums
    losses: list[Lost]


class Partner(Struct, frozen=True):
    """Handoffs with another team (None: that of no known team) in the range."""

    team: str | None
    sent: Sums
    received: Sums


class Team(Struct, frozen=True):
    """A team in a range: what it sent and got, and with whom, the busiest first."""

    team: str
    sent: Side
    received: Side
    partners: list[Partner]


def team(db: apsw.Connection, name: str, filters: Filters, now: int) -> Team:
    """A team in the range of the filters. A handoff within the team counts on both sides."""
    only = filters.but(team=name)
    return Team(
        name,
        _side(db, only, now, "l.from_team = :team"),
        _side(db, only, now, "l.to_team = :team"),
        _partners(db, name, only, now),
    )


def teams(db: apsw.Connection) -> list[str]:
    """All teams that the model knows, in the order of their names."""
    found = db.execute(
        "select from_team from lanes where from_team <> '' union "
        "select to_team from lanes where to_team <> '' union "
        "select team from registry where team is not null order by 1 limit 1000"
    )
    return [name for (name,) in found]


def _side(db: apsw.Connection, filters: Filters, now: int, side: str) -> Side:
    return Side(
        in_all(db, filters, filters.span(now), side),
        in_all(db, filters, filters.before(now), side),
        losses(db, filters, now, 10, side),
    )


def _partners(db: apsw.Connection, name: str, filters: Filters, now: int) -> list[Partner]:
    where, values = of_lanes(filters)
    found: dict[str, list[Sums]] = {}
    for number, (mine, other) in enumerate((("from_team", "to_team"), ("to_team", "from_team"))):
        for row in rows(
            db,
            f"select l.{other} as other, {SUMMED} from {within(filters.span(now), 'sums', 'h')} "
            f"where l.{mine} = :team and {where} group by l.{other} "
            "having sum(h.begun * r.sign) <> 0",
            {**values, "team": name},
        ):
            found.setdefault(row["other"], [Sums(), Sums()])[number] = sums(row)
    told = [Partner(other or None, *both) for other, both in found.items()]
    told.sort(key=lambda each: (-each.sent.begun - each.received.begun, each.team or ""))
    return told[:_MOST]
