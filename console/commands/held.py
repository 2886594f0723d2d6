"""`handoff held`: what waits for a repair, and why. Values of classified fields are masked."""

from collections.abc import Collection, Iterable, Iterator

import click
import msgspec
from rich.table import Table
from rich.text import Text

from console import output, render
from console.commands.documents import shown_by
from console.errors import BadInputError, DeclinedError
from console.kafka import Cluster, connect, read_all, read_table
from console.remembered import SeenTasks
from schemas.printable import plain
from schemas.records import Package, Violation
from schemas.unreadable import UNREADABLE

HELD, VIOLATIONS = "handoff.held", "handoff.violations"
_SAID = ("handoff.tool-outputs", "handoff.amendments")  # what holds the values of a task
_package = msgspec.json.Decoder(Package).decode
_violation = msgspec.json.Decoder(Violation).decode


@click.command("list")
@click.option("--workflow", help="Only those of this workflow.")
@click.option("--receiver", help="Only those for this receiver.")
@output.as_json
def list_held(workflow: str | None, receiver: str | None, output_: str) -> None:
    """Every handoff that is held now: since when, for whom, and why.

    `amend` sets what is missing, `release` sends it as it is, `discard` closes it; it also goes by
    itself when what holds it is gone.
    """
    cluster = connect()
    held = [
        each
        for each in held_packages(cluster)
        if workflow in (None, each.workflow) and receiver in (None, each.to.receiver)
    ]
    contracts = shown_by(cluster) if held else render.Contracts(())
    with output.ends_cleanly():
        if output_ == "json":
            output.document([_outline(each, contracts) for each in held])
            return
        if held:
            render.console().print(_table(held, contracts))
        if held:
            output.say("the whole of one: handoff held show ID", err=True)
        else:
            asked = " of what was asked for" if workflow or receiver else ""
            output.say(f"nothing{asked} is held", err=True)


def held_packages(cluster: Cluster) -> list[Package]:
    """What is held, oldest first. Records that cannot be read are told on standard error."""
    found = []
    for key, value in read_table(cluster, HELD).items():
        try:
            found.append(_package(value))
        except UNREADABLE:
            output.say(
                f"{cluster.name(HELD)}: {plain(key)} cannot be read: a newer version, or not ours",
                err=True,
            )
    return sorted(found, key=lambda each: (each.occurred_at, each.id))


def _table(held: list[Package], contracts: render.Contracts) -> Table:
    """Three lines each beside its id, which is there to be copied."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for each in held:
        contract = "none" if each.contract is None else f"{each.contract}@{each.contract_version}"
        why = "; ".join(contracts.holding(each)) or "see its violations"
        told = Text.assemble(
            f"task {plain(each.task_id)}, {plain(each.from_.stage)} → ",
            f"{plain(each.to.receiver)}, contract {plain(contract)}\n",
            (plain(why), "bold red"),
            f"\nsince {render.clock(each.occurred_at)}, owner ",
            plain(each.to.owner or "nobody"),
        )
        table.add_row(Text(plain(each.id), "bold"), told)
    return table


def _outline(package: Package, contracts: render.Contracts) -> dict[str, object]:
    """A held package for a program, without a value."""
    return {
        "id": package.id,
        "revision": package.revision,
        "task_id": package.task_id,
        "workflow": package.workflow,
        "contract": package.contract,
        "contract_version": package.contract_version,
        "from": msgspec.to_builtins(package.from_),
        "receiver": package.to.receiver,
        "owner": package.to.owner,
        "owner_contact": package.to.owner_contact,
        "since": package.occurred_at,
        "held_for": contracts.holders(package),
        "missing": package.missing,
        "violations": package.violations,
    }


@click.command("show")
@click.argument("handoff_id", metavar="ID")
@output.as_json
def show_held(handoff_id: str, output_: str) -> None:
    """One held handoff: its package, what is missing, and each violation in a sentence.

    Where a contract of its workflow classifies anything, the inputs of its task are read, if that
    is allowed: what tells a classified value that only they have is masked, too.
    """
    cluster = connect()
    package = next((each for each in held_packages(cluster) if each.id == handoff_id), None)
    if package is None:
        raise BadInputError(
            f"{handoff_id} is not held now; see: handoff held list, and what became of it: "
            "handoff show TASK"
        )
    contracts = shown_by(cluster)
    violations = open_violations(violations_of(cluster, package.task_id), package)
    if output_ == "json":
        told = [msgspec.to_builtins(each) for each in violations]
        output.document({**_outline(package, contracts), "open": told})
        return
    beside = _beside(cluster, package, contracts)
    terminal = render.console()
    terminal.print(render.package(package, contracts, beside))
    for each in violations:
        terminal.print(render.violation(each, brief=True))
    output.say(
        f"the id is {plain(handoff_id)}; to repair it: handoff amend ID --by YOU --set NAME=JSON; "
        "to send it as it is: handoff release ID --by YOU --reason WHY; "
        "to close it: handoff discard ID --by YOU",
        err=True,
    )


def _beside(cluster: Cluster, package: Package, contracts: render.Contracts) -> Collection[str]:
    """The texts of classified values that the inputs of a package's task hold."""
    classified, task = contracts.classified(package.workflow), package.task_id
    if not classified.at:
        return ()
    seen = SeenTasks()
    try:
        only = {topic: [cluster.partition_of(topic, task)] for topic in _SAID}
        for record in read_all(cluster, _SAID, "inputs", only):
            if record.key == task.encode() and record.value is not None:
                seen.note_input(record.topic, record.value)
    except DeclinedError as error:
        output.say(
            f"a classified value that only an input of the task has is not looked for: {error}",
            err=True,
        )
    return seen.texts((package.workflow, task), classified)


def violations_of(cluster: Cluster, task: str) -> Iterator[Violation]:
    """The records of `handoff.violations` about a task, those that can be read."""
    only = {VIOLATIONS: [cluster.partition_of(VIOLATIONS, task)]}
    for record in read_all(cluster, [VIOLATIONS], "violations", only):
        if record.key == task.encode() and record.value is not None:
            try:
                yield _violation(record.value)
            except UNREADABLE:
                continue


def open_violations(found: Iterable[Violation], package: Package) -> list[Violation]:
    """The open violations of a package, in its order; of each id the last record counts."""
    last = {each.id: each for each in found if each.handoff_id == package.id}
    return [
        last[each] for each in package.violations if each in last and last[each].status == "opened"
    ]
