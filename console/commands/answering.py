"""`handoff ack`, `amend`, `release` and `discard`: what receivers and people say of a handoff.

Each writes one record, and waits until what became of it can be read.
"""

import sys
import time
import uuid
from collections.abc import Callable
from typing import Any, Literal

import click
import msgspec

from console import output
from console.answers import CommandResult, SentCommand, answer, released
from console.asking import ACKS, AMENDMENTS, write_said
from console.asking import now as _now
from console.commands.documents import registered_contracts
from console.commands.held import open_violations, violations_of
from console.errors import FOUND_PROBLEMS, REFUSED, BadInputError
from console.kafka import Cluster, ProcessorProgress, TopicReader, connect, read_all
from console.render import Contracts
from console.sequence import OUTPUTS
from processors.integrity.processor import INTEGRITY
from schemas import serde
from schemas.documents import HandoffContract
from schemas.flow import Refused
from schemas.printable import plain
from schemas.records import Ack, Amendment, Package
from schemas.unreadable import UNREADABLE

# How often the processor is asked how far it is, and how long its last records may take to be read.
_ASK_SECONDS, _SETTLE_SECONDS = 0.5, 1.0
_EXIT = {"refused": FOUND_PROBLEMS, "unseen": REFUSED}  # all others are 0
_package = msgspec.json.Decoder(Package).decode


def _about_a_handoff(command: Callable[..., Any]) -> Callable[..., Any]:
    """The argument and options that all of them have."""
    for decorate in (
        output.as_json,
        click.option(
            "--wait",
            type=click.FloatRange(0, 3600),
            default=10.0,
            show_default=True,
            metavar="SECONDS",
            help="How long to wait for the result; 0 does not wait.",
        ),
        click.option("--workflow", help="Its workflow; looked up by ID where it is left out."),
        click.option("--task", help="Its task; looked up by ID where it is left out."),
        click.option("--reason", help="Why; whoever reads the handoff later sees it."),
        click.option(
            "--by",
            required=True,
            envvar="HANDOFF_BY",
            show_envvar=True,
            help="Who says so: a name.",
        ),
        click.argument("handoff_id", metavar="ID"),
    ):
        command = decorate(command)
    return command


@click.command(short_help="Say for the receiver: accepted, completed or rejected.")
@click.option(
    "--status",
    type=click.Choice(["accepted", "completed", "rejected"]),
    required=True,
    help="What became of it at the receiver.",
)
@_about_a_handoff
def ack(status: Literal["accepted", "completed", "rejected"], **given: Any) -> None:
    """Say for the receiver that the handoff ID was accepted, completed or rejected.

    A rejection needs a reason. Exit status 0 when it took effect, 1 when a violation or a dead
    letter answered it, 4 when nothing was visible in time.
    """
    by, reason = _who_and_why(given, "a rejection" if status == "rejected" else None)

    def said(task: str, workflow: str) -> Ack:
        return Ack(
            _id(),
            workflow,
            task,
            handoff_id=given["handoff_id"],
            status=status,
            by=by,
            occurred_at=_now(),
            reason=reason,
        )

    _ask(said, ACKS, **given)


@click.command(short_help="Set fields of a handoff by hand.")
@click.option(
    "--set", "values", metavar="NAME=JSON", multiple=True, help="A value in JSON. Repeatable."
)
@click.option(
    "--text", "texts", metavar="NAME=WORDS", multiple=True, help="A string as it is. Repeatable."
)
@click.option(
    "--to", metavar="RECEIVER", help="Send a held one on to this receiver, instead of setting."
)
@_about_a_handoff
def amend(values: tuple[str, ...], texts: tuple[str, ...], to: str | None, **given: Any) -> None:
    """Set fields of the handoff ID by hand, in the receiver's names, or send it on to another
    receiver.

    It is judged again: a held one is sent when nothing holds it any more, of a sent one the
    receiver gets the next revision. The package says who set what, and why. Exit status as of
    `ack`; 0 also when it is still held.
    """
    if to is None:
        _amendment("set", given, None, read_fields(values, texts))
    elif values or texts:
        raise BadInputError("set fields and send it on in two steps: --to goes alone")
    else:
        _amendment("redirect", given, None, {}, to)


@click.command(short_help="Send a held handoff as it is.")
@_about_a_handoff
def release(**given: Any) -> None:
    """Send the held handoff ID as it is, with a reason, whatever holds it.

    Its package is marked as overridden. Exit status as of `ack`.
    """
    _amendment("release", given, "a release", {})


@click.command()
@_about_a_handoff
def discard(**given: Any) -> None:
    """Close the held handoff ID without sending it. Exit status as of `ack`."""
    _amendment("discard", given, None, {})


def _amendment(
    action: Literal["set", "redirect", "release", "discard"],
    given: dict[str, Any],
    what: str | None,
    fields: dict[str, msgspec.Raw],
    to: str | None = None,
) -> None:
    by, reason = _who_and_why(given, what)

    def said(task: str, workflow: str) -> Amendment:
        return Amendment(
            _id(),
            workflow,
            task,
            handoff_id=given["handoff_id"],
            action=action,
            by=by,
            occurred_at=_now(),
            fields=fields,
            reason=reason,
            to=to,
        )

    _ask(said, AMENDMENTS, **given)


def _who_and_why(given: dict[str, Any], what: str | None) -> tuple[str, str | None]:
    """Name and reason without space around them; `what` names a thing that needs a reason."""
    by, reason = given["by"].strip(), (given["reason"] or "").strip()
    if not by:
        raise BadInputError("--by is blank; say who it is, or set HANDOFF_BY")
    if what and not reason:
        raise BadInputError(f"{what} needs a reason that others can read: --reason WORDS")
    return by, reason or None


def read_fields(values: tuple[str, ...], texts: tuple[str, ...]) -> dict[str, msgspec.Raw]:
    """The fields of NAME=JSON and NAME=WORDS. Raises `BadInputError`; it never quotes a value."""
    if not values and not texts:
        raise BadInputError("nothing to set; name a field: --set NAME=JSON or --text NAME=WORDS")
    fields: dict[str, msgspec.Raw] = {}
    for option, entries in (("--set", values), ("--text", texts)):
        for number, entry in enumerate(entries, 1):
            name, equals, text = entry.partition("=")
            if not equals or not name:
                raise BadInputError(f"{option} number {number} has no NAME= before its value")
            if name in fields:
                raise BadInputError(f"{name} is set twice; set each field once")
            raw = text.encode() if option == "--set" else msgspec.json.encode(text)
            try:
                msgspec.json.decode(raw)
            except UNREADABLE as error:
                raise BadInputError(
                    f"--set {name}: the value is not JSON: {error}; "
                    f"for a string as it is: --text {name}=WORDS"
                ) from None
            fields[name] = msgspec.Raw(raw)
    return fields


def _id() -> str:
    return f"cli-{uuid.uuid4().hex}"


def _ask(
    said: Callable[[str, str], Ack | Amendment],
    topic: str,
    handoff_id: str,
    task: str | None,
    workflow: str | None,
    wait: float,
    output_: str,
    **_: Any,
) -> None:
    """Write what is said of a handoff, wait for the answer, show it, and end with its status."""
    cluster = connect()
    cluster.check("WRITE", [topic])
    if task is None or workflow is None:
        task, workflow = _find(cluster, handoff_id, task, workflow)
    body = said(task, workflow)
    try:
        serde.check_lengths(body)
    except Refused as error:
        raise BadInputError(f"{error.message}; nothing was written") from None
    # The reader's place is taken before the record is written: no answer can be missed.
    reader = (
        TopicReader(
            cluster,
            OUTPUTS,
            from_beginning=False,
            only=_partitions(cluster, body.task_id, handoff_id),
        )
        if wait
        else None
    )
    try:
        asked = write_said(cluster, topic, [body], "run the command again")
        found = _wait(cluster, reader, asked, wait)
    finally:
        if reader is not None:
            reader.close()
    _show(cluster, asked, found, output_)
    sys.exit(_EXIT.get(found.kind, 0))


def _partitions(cluster: Cluster, task_id: str, handoff_id: str) -> dict[str, list[int]]:
    """Where an answer can be, of the topics whose keys are known."""
    keyed = ("handoff.packages", "handoff.violations", "handoff.signals")
    only = {topic: [cluster.partition_of(topic, task_id)] for topic in keyed}
    only["handoff.held"] = [cluster.partition_of("handoff.held", handoff_id)]
    return only


def _find(
    cluster: Cluster, handoff_id: str, task: str | None, workflow: str | None
) -> tuple[str, str]:
    """Task and workflow of a handoff, from its packages. Raises `BadInputError`."""
    package = _published(cluster, handoff_id, task)
    if package is None:
        raise BadInputError(
            f"no package with the id {handoff_id} is on handoff.packages or handoff.held; "
            "`handoff held list` and `handoff show TASK` name ids, and with --task and --workflow "
            "it is written without looking"
        )
    for name, wanted, found in (
        ("task", task, package.task_id),
        ("workflow", workflow, package.workflow),
    ):
        if wanted not in (None, found):
            raise BadInputError(
                f"{handoff_id} belongs to the {name} {plain(found)}, not to {wanted}"
            )
    return package.task_id, package.workflow


def _published(cluster: Cluster, handoff_id: str, task: str | None) -> Package | None:
    """A package of the handoff, where there is one; `task` is its task, where it is known."""
    packages, needle = "handoff.packages", handoff_id.encode()
    only = {} if task is None else {packages: [cluster.partition_of(packages, task)]}
    # What is held is little, and what people look for first.
    for topic in ("handoff.held", packages):
        for record in read_all(cluster, [topic], "packages", only):
            if record.value is None or needle not in record.value:
                continue
            try:
                package = _package(record.value)
            except UNREADABLE:
                continue
            if package.id == handoff_id:
                return package
    return None


def _wait(
    cluster: Cluster, reader: TopicReader | None, asked: SentCommand, seconds: float
) -> CommandResult:
    """The answer, or that none came within `seconds`, and whether the processor has judged it."""
    if reader is None:
        return CommandResult("written", "written; what comes of it was not waited for")
    limit = time.monotonic() + seconds
    ask_at = time.monotonic() + _ASK_SECONDS
    judged_at: float | None = None
    judged = ProcessorProgress(cluster, INTEGRITY.name)
    # A release is answered by two records, on topics that are read in any order.
    told = sent = None
    while (now := time.monotonic()) < limit:
        record = reader.poll(min(0.1, limit - now))
        if record is not None:
            told = told or answer(asked, record)
            sent = sent or released(asked, record)
        if told is not None and (sent or told.kind != "applied" or asked.wish != "release"):
            return sent or told
        if judged_at is None and now >= ask_at:
            if judged.past(asked.topic, asked.partition, asked.offset):
                judged_at = now
            ask_at = now + _ASK_SECONDS
        if judged_at is not None and record is None and now - judged_at > _SETTLE_SECONDS:
            break
    if told is not None:
        return told
    if judged_at is not None:
        return CommandResult("unchanged", "judged, and nothing followed: it was so already")
    if judged.lacking is not None:
        return CommandResult(
            "unseen",
            f"written, and nothing followed within {seconds:g} s; whether it was judged is not "
            f"known: {judged.lacking}",
        )
    return CommandResult(
        "unseen",
        f"written, and not yet judged after {seconds:g} s; it will be, once. "
        "Is a processor running? handoff doctor",
    )


def _show(cluster: Cluster, asked: SentCommand, found: CommandResult, output_: str) -> None:
    package = found.package
    holders: dict[str, list[str]] = {}
    reasons: list[str] = []
    if package is not None and asked.wish in ("set", "redirect"):
        contracts = registered_contracts(cluster)
        if package.disposition == "held":
            holders = Contracts(contracts).holders(package)
            opened = open_violations(violations_of(cluster, package.task_id), package)
            reasons = [each.message for each in opened if each.kind in holders]
        for contract in contracts if asked.wish == "set" else ():
            version = (contract.id, contract.version)
            if version == (package.contract, package.contract_version):
                _note_undeclared(asked, contract)
    if output_ == "json":
        body = asked.body
        output.document(
            {
                "outcome": found.kind,
                "message": found.message,
                "handoff_id": body.handoff_id,
                "task_id": body.task_id,
                "workflow": body.workflow,
                "id": body.id,
                "topic": asked.topic,
                "partition": asked.partition,
                "offset": asked.offset,
                "revision": package.revision if package else None,
                "disposition": package.disposition if package else None,
                "missing": package.missing if package else None,
                "held_for": holders,
                "reasons": reasons,
            }
        )
        return
    message = plain(found.message)
    if found.kind in ("refused", "unseen"):
        output.say(f"handoff: {message}", err=True)
        return
    output.say(message)
    for kind, names in holders.items():
        output.say(f"  {kind}{': ' if names else ''}{', '.join(map(plain, names))}")
    for reason in reasons:
        output.say(f"  {plain(reason)}")
    if package is not None and package.missing:
        output.say(f"missing: {', '.join(map(plain, package.missing))}")
    if holders:
        output.say(f"the whole of it: handoff held show {plain(asked.body.handoff_id or '')}")


def _note_undeclared(asked: SentCommand, contract: HandoffContract) -> None:
    """A name that the contract does not know may be a slip of the hand: it went as an extra."""
    known = [field.name for field in contract.fields]
    unknown = [name for name in getattr(asked.body, "fields", ()) if name not in known]
    if unknown:
        output.say(
            f"note: {contract.id}@{contract.version} declares no field "
            f"{', '.join(map(plain, unknown))}; it declares {', '.join(known)}",
            err=True,
        )
