"""As of when a page is, and how far the read model is behind the topics."""

from dataclasses import dataclass

import apsw

from web.text import iso


@dataclass(frozen=True)
class Freshness:
    """`as_of` (epoch ms) is when the topics were looked at last, `behind` counts the records that
    were there then and are not in the read model, `seconds` is how old the oldest of the newest
    records of those partitions is. `problem` keeps it from being read."""

    as_of: int
    behind: int
    seconds: int
    problem: str | None

    @property
    def iso(self) -> str:
        """The time for machines."""
        return iso(self.as_of)

    @property
    def at(self) -> str:
        """The time for people, to the second."""
        return self.iso.replace("T", " ").replace("Z", " UTC")


def freshness(db: apsw.Connection) -> Freshness | None:
    """What the read model says of itself; None where it has not looked at the topics yet."""
    said = dict(db.execute("select name, content from meta where name in ('as_of', 'problem')"))
    if said.get("as_of") is None:
        return None
    as_of = int(said["as_of"])
    row = db.execute(
        "select coalesce(sum(end_ - next), 0), min(case when end_ > next then written end) "
        "from positions"
    ).fetchone()
    behind, oldest = row if row is not None else (0, None)
    seconds = max(as_of - oldest, 0) // 1000 if oldest is not None else 0
    return Freshness(as_of, max(behind, 0), seconds, said.get("problem"))
