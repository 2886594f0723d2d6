"""Recorded inputs judged twice: by the contracts as they are, and with others in the place of some.
For `contracts test` and the console in a browser. It reads and writes nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from console.dry_run import DryRun
from console.errors import BadInputError
from console.lines import Line
from console.replay import Run
from processors.contracts.registry import CONTRACTS, RECEIVERS
from processors.integrity.limits import Limits
from processors.integrity.processor import integrity
from schemas import documents
from schemas.documents import HandoffContract, Person
from schemas.loading import Documents
from topics.catalogue import DEFAULT_PARTITIONS

Table = dict[str, bytes]
# A draft may have no owner yet, and is tried all the same; nothing of these runs is published.
_ANYBODY: Final = Person(name="not named yet", contact="not named yet")


class ContractTrial:
    """Contracts, and receivers, as they would be (`as_if_active`), beside the tables of those that
    there are now. Receivers that the tables lack are there both times. `tried` are the keys of the
    changed contracts."""

    def __init__(self, new: Documents, contracts: Table, receivers: Table) -> None:
        self._new, new_receivers = tables(new)
        self._contracts = contracts
        self._ids = {_id(key) for key in self._new}
        self._before = new_receivers | receivers
        self._after = receivers | new_receivers
        self.tried = list(self._new)

    def before(
        self, limits: Limits, lines: Sequence[Line], *, until: int | None = None,
        source: str | None = None, tick: Callable[[DryRun], None] | None = None,
    ) -> Run:  # fmt: skip
        """The lines by what there is now, with what falls due up to `until` (epoch ms). `tick` is
        called for each record that is published. Raises `BadInputError` for a line that is none."""
        return _run(
            limits,
            lines,
            self._contracts,
            receivers=self._before,
            until=until,
            source=source,
            tick=tick,
        )

    def after(
        self, limits: Limits, lines: Sequence[Line], *, until: int | None = None,
        source: str | None = None, tick: Callable[[DryRun], None] | None = None,
    ) -> Run:  # fmt: skip
        """The lines with the new contracts in the place of all versions of the same ones."""
        others = {key: each for key, each in self._contracts.items() if _id(key) not in self._ids}
        steady = [each for each in lines if not _registers(each, self._ids)]
        return _run(
            limits,
            steady,
            others | self._new,
            receivers=self._after,
            until=until,
            source=source,
            tick=tick,
        )


def as_if_active(found: Documents) -> Documents:
    """The documents, with every contract that is not in force yet (a draft, or on trial) as if it
    were. Raises `BadInputError` where none is among them."""
    if not found.contracts:
        raise BadInputError("NEW holds no contract to test; give the file that holds the change")
    contracts = []
    for each in found.contracts:
        update: dict[str, object] = {}
        if each.status in ("draft", "trial"):
            update["status"] = "active"
        if each.owner.name == documents.UNKNOWN:
            update["owner"] = _ANYBODY
        contracts.append(each.model_copy(update=update))
    return Documents(tuple(contracts), found.receivers, found.locations)


def tables(found: Documents) -> tuple[Table, Table]:
    """Contracts and receivers as their topics hold them."""
    return (
        {documents.key(each): documents.to_json(each) for each in found.contracts},
        {documents.key(each): documents.to_json(each) for each in found.receivers},
    )


def _id(key: str) -> str:
    """The contract's id in the key of its table."""
    return key.rpartition("@")[0]


def _registers(line: Line, ids: Iterable[str]) -> bool:
    """Whether a line changes one of the contracts that another one takes the place of."""
    if line.topic != CONTRACTS:
        return False
    if line.key is not None:
        return _id(line.key.decode()) in ids
    try:
        document = documents.from_json(line.value)
    except ValueError:
        return False  # the run says what is wrong with it
    return isinstance(document, HandoffContract) and document.id in ids


def _run(
    limits: Limits,
    lines: Sequence[Line],
    contracts: Table,
    receivers: Table,
    until: int | None,
    source: str | None,
    tick: Callable[[DryRun], None] | None,
) -> Run:
    # As in `dry-run`: a recording may span years, and nothing of it is forgotten.
    within = msgspec.structs.replace(limits, task_ttl_ms=None, handoff_ttl_ms=None)
    dry = DryRun(
        integrity(within), {CONTRACTS: contracts, RECEIVERS: receivers}, DEFAULT_PARTITIONS
    )
    run = Run()
    for record in dry.run(lines, until, source):
        if tick is not None:
            tick(dry)
        run.note(record)
    return run
