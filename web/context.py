"""What all pages share: the read model, the records behind it, and the documents in force."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import apsw
from msgspec import structs

from console.render import Contracts
from console.shown import shown_of
from processors.contracts.registry import CONTRACTS, RECEIVERS, RegistrySnapshot, build_tables
from processors.runtime.settings import Settings
from schemas import documents
from schemas.documents import HandoffContract, Receiver
from web import seen
from web.auth.guard import Refusal
from web.auth.people import Person
from web.gate import Gate
from web.live import Watchers
from web.model.changes import Changes
from web.model.filters import Filters
from web.model.queries.freshness import Freshness, freshness
from web.model.reader import Model, NotBuilt
from web.model.schema import NUMBER

_MOST_NAMES = 500  # in a list to choose from
_NAMES_SECONDS = 10.0  # that list is remembered: it takes a look at every task


class Registered(NamedTuple):
    """The documents that are registered, and what they say about showing values."""

    contracts: dict[str, HandoffContract]  # by id@version
    receivers: dict[str, Receiver]
    shown: Contracts
    tables: RegistrySnapshot


@dataclass
class Console:
    """The console of one process. Any thread may use it.

    `nav` are the titles and paths of its pages, `assets` changes with the static files, `signs_out`
    says whether a person can end their sign-in here.
    """

    settings: Settings
    model: Model
    gate: Gate
    changes: Changes = field(default_factory=Changes)
    nav: Sequence[tuple[str, str]] = ()
    assets: str = ""
    signs_out: bool = False
    _registered: tuple[object, Registered] | None = None

    def __post_init__(self) -> None:
        self._watchers = Watchers(self.changes)

    def registered(self, db: apsw.Connection) -> Registered:
        """The documents as far as the read model has got. They are read from their topics when it
        has got further. Raises `CommandError`."""
        version = tuple(
            db.execute(
                "select topic, partition, next from positions where topic in (?, ?) "
                "order by topic, partition",
                (NUMBER[CONTRACTS], NUMBER[RECEIVERS]),
            )
        )
        known = self._registered
        if known is not None and known[0] == version:
            return known[1]
        found = _registered(self.gate.documents())
        self._registered = version, found
        return found

    def workflows(self, person: Person) -> list[str]:
        """The workflows of which a person may read something."""
        known = self.model.ask(_workflows, keep=_NAMES_SECONDS)
        if person.everywhere:
            return known
        with self.model.read() as db:
            return seen.workflows_of(db, person, known)

    def narrowed(self, filters: Filters, person: Person) -> Filters:
        """The filters as far as the person may read: who may not read everything looks at one
        workflow at a time, and where only some teams are theirs, at one team. Raises `Refusal`
        where they ask for another one."""
        if person.everywhere:
            return filters
        workflow = filters.workflow or next(iter(self.workflows(person)), None)
        if workflow is None:
            raise Refusal(403, "There is nothing yet in the workflows that are yours to see.")
        named = [each for grant in person.grants for each in grant.teams if "*" not in each]
        teams = person.teams(workflow, [filters.team, *named] if filters.team else named)
        if teams is None:
            if not person.workflows([workflow]):
                raise Refusal(403, _NOT_YOURS.format(f"the workflow {workflow}"))
            return filters.but(workflow=workflow)
        team = filters.team or next(iter(teams), None)
        if team is None or team not in teams:
            raise Refusal(403, _NOT_YOURS.format("that workflow, or of that team in it,"))
        return filters.but(workflow=workflow, team=team)

    @property
    def watchers(self) -> Watchers:
        """Who is told of changes."""
        return self._watchers

    def freshness(self, now: int) -> Freshness | None:
        """How far the read model is behind, and what keeps it from being written; None while it is
        not built."""
        try:
            found = self.model.ask(freshness, now=now)
        except NotBuilt:
            return None
        if self.model.trouble is not None:
            found = structs.replace(found, problem=self.model.trouble)
        return found if found.as_of is not None else None

    def close(self) -> None:
        """Give the connections back."""
        self.gate.close()


def _workflows(db: apsw.Connection) -> list[str]:
    found = db.execute(
        "select workflow from lanes union select workflow from tasks union "
        "select workflow from edges union select workflow from registry "
        "where workflow is not null order by 1 limit ?",
        (_MOST_NAMES,),
    )
    return [name for (name,) in found]


_NOT_YOURS = "Nothing of {} is yours to see: the access file gives you no role for it."


def _registered(topics: dict[str, dict[str, bytes]]) -> Registered:
    contracts: dict[str, HandoffContract] = {}
    receivers: dict[str, Receiver] = {}
    for name in (CONTRACTS, RECEIVERS):
        for value in topics[name].values():
            try:
                document = documents.from_json(value)
            except ValueError:
                continue
            if isinstance(document, HandoffContract):
                contracts[documents.key(document)] = document
            else:
                receivers[document.id] = document
    return Registered(
        contracts, receivers, shown_of(topics[CONTRACTS].values()), build_tables(topics, None)
    )
