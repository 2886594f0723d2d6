"""Who looks at a page, and what they may do there. Pure.

A grant gives one role in the workflows and teams that its patterns name. An operator and an
unmasker are readers, too, of what they are granted.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal

Role = Literal["reader", "operator", "unmasker"]
ROLES: Final[tuple[Role, ...]] = ("reader", "operator", "unmasker")
NOBODY_SIGNED_IN: Final = "unverified"
ANY: Final = ("*",)


@dataclass(frozen=True)
class Grant:
    """One role, where. Patterns are as of a shell: `*` is any text, `?` one character."""

    role: Role
    workflows: tuple[str, ...] = ANY
    teams: tuple[str, ...] = ANY

    def covers(self, role: Role, workflow: str | None, teams: Iterable[str | None]) -> bool:
        """Whether it gives a role (every grant gives to read) for something of a workflow and
        these teams. One of the teams is enough; what names none is of every team."""
        if role not in ("reader", self.role):
            return False
        if not _any_fits(self.workflows, [workflow or ""]):
            return False
        named = [team for team in teams if team]
        return not named or _any_fits(self.teams, named)


@dataclass(frozen=True)
class Person:
    """Who looks: `subject` is the `by` of what they do."""

    subject: str
    grants: tuple[Grant, ...]
    signed_in: bool

    def may(self, role: Role, workflow: str | None, *teams: str | None) -> bool:
        """Whether a role is theirs for something of a workflow and teams."""
        return any(each.covers(role, workflow, teams) for each in self.grants)

    def does_all(self, role: Role, workflow: str) -> bool:
        """Whether a role is theirs for everything of a workflow."""
        return any("*" in each.teams and each.covers(role, workflow, ()) for each in self.grants)

    @property
    def everywhere(self) -> bool:
        """Whether they may read all there is, so that a page needs no narrowing."""
        return any("*" in each.workflows and "*" in each.teams for each in self.grants)

    def reads_of(self, team: str) -> bool:
        """Whether they may read of a team, in whatever workflow."""
        return any(_any_fits(each.teams, [team]) for each in self.grants)

    def workflows(self, known: Iterable[str]) -> list[str]:
        """Those of the known workflows of which they may read something."""
        return [
            name for name in known if any(_any_fits(each.workflows, [name]) for each in self.grants)
        ]

    def teams(self, workflow: str, known: Iterable[str]) -> list[str] | None:
        """Those of the known teams of which they may read in a workflow; None: all of them."""
        here = [each for each in self.grants if _any_fits(each.workflows, [workflow])]
        if any("*" in each.teams for each in here):
            return None
        return [name for name in known if any(_any_fits(each.teams, [name]) for each in here)]


def on_this_machine() -> Person:
    """Whoever uses the console without sign-in: it listens on this machine only."""
    return Person(NOBODY_SIGNED_IN, tuple(Grant(role) for role in ROLES), signed_in=False)


def _any_fits(patterns: Iterable[str], names: Iterable[str]) -> bool:
    names = list(names)
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)
