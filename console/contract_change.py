"""What a change of contracts breaks, one contract at a time: for `contracts diff` and the console
in a browser. Pure."""

from collections.abc import Iterable

from msgspec import Struct

from processors.contracts.change import Change
from processors.contracts.diff import compare, effective, version_must_rise
from processors.contracts.registry import in_force
from schemas.documents import HandoffContract


class ToldChange(Struct):
    """One change: where, what, why, and whom it breaks."""

    at: str
    what: str
    reason: str
    breaking: bool
    breaks: tuple[str, ...]


class ComparedContract(Struct):
    """One contract on both sides. Its `change` is added, removed, retired, changed or unchanged; a
    version is null where it is not."""

    id: str
    change: str
    old_version: int | None
    new_version: int | None
    breaking: bool
    version_must_rise: bool
    changes: list[ToldChange]


def one_each(contracts: Iterable[HandoffContract]) -> dict[str, HandoffContract]:
    """The version of each contract that new handoffs take, or else the highest there is."""
    highest = {each.id: each for each in sorted(contracts, key=lambda each: each.version)}
    return highest | {each.id: each for each in in_force(list(contracts))}


def compared(old: HandoffContract | None, new: HandoffContract | None) -> ComparedContract:
    """One contract on both sides; at least one of them is there."""
    kind = "removed" if new is None else "added" if old is None else "unchanged"
    changes: list[Change] = []
    rises = False
    if old is None or new is None:
        changes = [_alone(old, new)]
    elif changes := compare(old, new):
        retired = new.status == "retired" and old.status != "retired"
        kind = "retired" if retired else "changed"
        rises = version_must_rise(old, new)
    told = [
        ToldChange(each.at, each.what, each.reason, each.breaking, each.breaks) for each in changes
    ]
    one = old or new
    assert one is not None
    return ComparedContract(
        one.id,
        kind,
        None if old is None else old.version,
        new_version=None if new is None else new.version,
        breaking=any(each.breaking for each in told),
        version_must_rise=rises,
        changes=told,
    )


def _alone(old: HandoffContract | None, new: HandoffContract | None) -> Change:
    """What it means that a contract stands on one side only."""
    if old is None:
        assert new is not None
        if not effective(new):
            return Change("", "added", f"no new handoff takes it yet: it is {new.status}")
        return Change("", "added", "handoffs that nothing covered are judged by it")
    if not effective(old):
        return Change("", "removed", f"no new handoff took it: it was {old.status}")
    reason = "its handoffs are judged by nothing any more; a registered one stays until retired"
    return Change("", "removed", reason, ("sender", "receiver"))
