"""As of when the pages are, and how far behind the topics."""

import apsw
from msgspec import Struct

from web.model.schema import TOPICS


class Behind(Struct, frozen=True):
    """How far a topic is behind: records that are there and were not read, and for how many seconds
    the oldest may have been there. `unreadable` counts records that are none of ours."""

    topic: str
    partitions: int
    records: int
    seconds: int
    unreadable: int


class Freshness(Struct, frozen=True):
    """As of when (epoch ms; None: never yet), how far behind in all, and what keeps the topics from
    being read, as a sentence."""

    as_of: int | None
    records: int
    seconds: int
    problem: str | None
    topics: list[Behind]


def freshness(db: apsw.Connection, now: int) -> Freshness:
    """How far behind each topic is at a moment (epoch ms)."""
    known = dict(db.execute("select name, content from meta"))
    as_of = int(known["as_of"]) if known.get("as_of") else None
    topics = [
        Behind(
            TOPICS[topic],
            partitions,
            records,
            max(0, now - written) // 1000 if records and written else 0,
            unreadable,
        )
        for topic, partitions, records, written, unreadable in db.execute(
            "select topic, count(*), sum(max(end_ - next, 0)), "
            "min(case when end_ > next then written end), sum(unreadable) "
            "from positions group by topic order by topic"
        )
    ]
    return Freshness(
        as_of,
        sum(each.records for each in topics),
        max((each.seconds for each in topics), default=0),
        known.get("problem"),
        topics,
    )
