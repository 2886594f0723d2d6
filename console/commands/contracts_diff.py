"""`handoff contracts diff`: what a change of contracts breaks, and for whom."""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

import click
from msgspec import Struct

from console import output
from console.commands.documents import load_documents, registered_contracts
from console.errors import FOUND_PROBLEMS, BadInputError
from console.kafka import connect
from processors.contracts.change import Change
from processors.contracts.diff import compare, effective, version_must_rise
from processors.contracts.registry import in_force
from schemas import documents
from schemas.documents import HandoffContract

_NAME = re.compile(r"(?P<id>[A-Za-z0-9][A-Za-z0-9._-]*)(?:@(?P<version>[1-9][0-9]*))?")


class _Told(Struct):
    at: str
    what: str
    reason: str
    breaking: bool
    breaks: tuple[str, ...]


class _Compared(Struct):
    """One contract on both sides. Its `change` is added, removed, retired, changed or unchanged; a
    version is null where it is not."""

    id: str
    change: str
    old_version: int | None
    new_version: int | None
    breaking: bool
    version_must_rise: bool
    changes: list[_Told]


@click.command("diff")
@output.as_json
@click.argument("old")
@click.argument("new")
def diff(output_: str, old: str, new: str) -> None:
    """Say what a change of contracts breaks: for senders, for receivers, and why.

    OLD and NEW are each a YAML file, a directory of such files, or a contract that is registered
    on the cluster: ID@VERSION, or ID for the version that new handoffs take. Of several versions
    of one contract in a directory that one counts, too. Receivers are not compared.

    What cannot be told, such as whether an expression is stricter, counts as breaking. Exit status
    0 when nothing breaks, 1 when something does.
    """
    before, named_old = _side(old)
    after, named_new = _side(new)
    names = {each.id for each in (named_old, named_new) if each is not None}
    if len(names) > 1:
        raise BadInputError(
            f"{old} and {new} are two contracts; compare two versions of one: "
            "handoff contracts diff ID@1 ID@2"
        )
    ids = names or before.keys() | after.keys()
    found = [_compared(before.get(id_), after.get(id_)) for id_ in sorted(ids)]
    if output_ == "json":
        output.document(found)
    else:
        _tell(found)
    if any(each.breaking for each in found):
        sys.exit(FOUND_PROBLEMS)


def _side(given: str) -> tuple[dict[str, HandoffContract], HandoffContract | None]:
    """The contracts of a side by id; and the one that was named, if one was."""
    match = _NAME.fullmatch(given)
    if Path(given).exists() or match is None or given.endswith((".yaml", ".yml")):
        found = _one_each(load_documents([given]).contracts)
        if not found:
            raise BadInputError(f"{given}: holds no contract; give the file that holds one")
        return found, None
    contracts = registered_contracts(connect())
    if match["version"] is None:
        one = _one_each(contracts).get(given)
    else:
        one = next((each for each in contracts if documents.key(each) == given), None)
    if one is None:
        known = ", ".join(documents.key(each) for each in contracts) or "none"
        raise BadInputError(
            f"{given} is neither a file nor a registered contract; registered: {known}"
        )
    return {one.id: one}, one


def _one_each(contracts: Iterable[HandoffContract]) -> dict[str, HandoffContract]:
    """The version of each contract that new handoffs take, or else the highest there is."""
    highest = {each.id: each for each in sorted(contracts, key=lambda each: each.version)}
    return highest | {each.id: each for each in in_force(list(contracts))}


def _compared(old: HandoffContract | None, new: HandoffContract | None) -> _Compared:
    kind = "removed" if new is None else "added" if old is None else "unchanged"
    changes: list[Change] = []
    rises = False
    if old is None or new is None:
        changes = [_alone(old, new)]
    elif changes := compare(old, new):
        retired = new.status == "retired" and old.status != "retired"
        kind = "retired" if retired else "changed"
        rises = version_must_rise(old, new)
    told = [_Told(each.at, each.what, each.reason, each.breaking, each.breaks) for each in changes]
    one = old or new
    assert one is not None
    return _Compared(
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


def _tell(found: list[_Compared]) -> None:
    for each in found:
        output.say(_heading(each))
        if each.version_must_rise:
            output.say(
                f"  raise the version to {(each.old_version or 0) + 1}: "
                "a registered version never changes but in its status"
            )
        if each.changes:
            rows = [
                [
                    "  breaking" if change.breaking else "  -",
                    ", ".join(change.breaks),
                    change.at,
                    change.what,
                    change.reason,
                ]
                for change in sorted(each.changes, key=lambda change: not change.breaking)
            ]
            output.columns(["  ", "for the", "at", "change", "why"], rows)
    breaking = sum(change.breaking for each in found for change in each.changes)
    total = sum(len(each.changes) for each in found)
    output.say(f"{output.number(total, 'change')}, {breaking} breaking")


def _heading(each: _Compared) -> str:
    versions = "@" + " -> @".join(
        str(version) for version in (each.old_version, each.new_version) if version is not None
    )
    return f"{each.id}{versions}: {each.change}"
