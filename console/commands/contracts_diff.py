"""`handoff contracts diff`: what a change of contracts breaks, and for whom."""

import re
import sys
from pathlib import Path

import click

from console import output
from console.commands.documents import load_documents, registered_contracts
from console.contract_change import ComparedContract, compared, one_each
from console.errors import FOUND_PROBLEMS, BadInputError
from console.kafka import connect
from schemas import documents
from schemas.documents import HandoffContract

_NAME = re.compile(r"(?P<id>[A-Za-z0-9][A-Za-z0-9._-]*)(?:@(?P<version>[1-9][0-9]*))?")


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
    found = [compared(before.get(id_), after.get(id_)) for id_ in sorted(ids)]
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
        found = one_each(load_documents([given]).contracts)
        if not found:
            raise BadInputError(f"{given}: holds no contract; give the file that holds one")
        return found, None
    contracts = registered_contracts(connect())
    if match["version"] is None:
        one = one_each(contracts).get(given)
    else:
        one = next((each for each in contracts if documents.key(each) == given), None)
    if one is None:
        known = ", ".join(documents.key(each) for each in contracts) or "none"
        raise BadInputError(
            f"{given} is neither a file nor a registered contract; registered: {known}"
        )
    return {one.id: one}, one


def _tell(found: list[ComparedContract]) -> None:
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


def _heading(each: ComparedContract) -> str:
    versions = "@" + " -> @".join(
        str(version) for version in (each.old_version, each.new_version) if version is not None
    )
    return f"{each.id}{versions}: {each.change}"
