"""The rights that docs/operations.md asks for, read from its tables."""

import re
from pathlib import Path
from typing import Final, NamedTuple, cast

from topics.catalogue import NAMES, physical
from topics.rights import Kind, Right

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "operations.md"
_MORE: Final = re.compile(r"(\w+) on (all topics|topic|group|transactional id)(?: `([^`]+)`)?")


class Names(NamedTuple):
    """What the names of the page are on a cluster."""

    prefix: str
    application: str
    queue: str
    group: str

    @property
    def source(self) -> str:
        """The topic of a source."""
        return f"{self.prefix}tracker.events"

    def topic(self, name: str) -> str:
        if name == "SOURCE":
            return self.source
        return self.queue if name == "QUEUE" else physical(f"handoff.{name}", self.prefix)

    def other(self, name: str) -> str:
        """A group or transactional id; of a prefix it is the beginning."""
        if name == "GROUP":
            return self.group
        return name.replace("handoff", self.application, 1).removesuffix("*")

    def all_topics(self) -> list[str]:
        return [*(physical(name, self.prefix) for name in sorted(NAMES)), self.queue]


def rows() -> dict[str, list[str]]:
    """The cells after the first of each row of both tables, by who has the rights: a command, a
    processor, a tool, a receiver."""
    found: dict[str, list[str]] = {}
    _, _, section = PAGE.read_text().partition("**Rights.**")
    for line in section.partition("\n## ")[0].splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) != 4 or cells[0] in ("who", "command", "---"):
            continue
        for who in re.findall(r"`([^`]+)`", cells[0]) or [cells[0]]:
            assert who not in found, who
            found[who] = cells[1:]
    return found


def documented(who: str, names: Names) -> list[Right]:
    """The rights of a row on a cluster."""
    read, write, more = rows()[who]
    found = [
        Right(operation, "topic", names.topic(name))
        for operation, cell in (("READ", read), ("WRITE", write))
        for name in re.findall(r"`([^`]+)`", cell)
    ]
    for part in filter(None, more.split("; ")):
        match = _MORE.fullmatch(part)
        assert match, part
        operation, kind, name = match.groups()
        if kind == "all topics":
            found += [Right(operation, "topic", topic) for topic in names.all_topics()]
        elif kind == "topic":
            found.append(Right(operation, "topic", names.topic(name)))
        else:
            found.append(Right(operation, cast(Kind, kind), names.other(name)))
    return found
