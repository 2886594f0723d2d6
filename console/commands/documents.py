"""`handoff contracts` and `handoff receivers`: check, register and read documents."""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import TypeVar

import click
import msgspec
from pydantic import ValidationError

from console import output, yaml_text
from console.errors import BadInputError, DeclinedError
from console.kafka import Cluster, connect, read_table, write_all
from console.lines import NOT_JSON, TOOL_OUTPUTS, read_lines
from console.lint_traffic import unled
from console.render import Contracts
from console.shown import shown_of
from processors.contracts.registry import CONTRACTS, LIVENESS, RECEIVERS, STALE_INTERVALS
from schemas import documents, serde
from schemas.documents import Document, HandoffContract, Receiver
from schemas.lint import in_order, nobody_receives
from schemas.lint import lint as judge
from schemas.loading import DocumentErrors, Documents, load
from schemas.records import Liveness, ToolOutput
from schemas.sources import Source
from schemas.unreadable import UNREADABLE
from schemas.yaml_source import Problem
from topics.catalogue import NAMES
from topics.rights import Right, missing

paths_argument = click.argument("paths", metavar="PATH...", nargs=-1, required=True)


def load_documents(paths: Iterable[str]) -> Documents:
    """The contracts and receivers below the paths. Raises `BadInputError` with every problem."""
    try:
        return load(paths)
    except DocumentErrors as error:
        raise BadInputError(f"the documents cannot be used:\n{error}") from None


@click.command("lint")
@output.as_json
@click.option(
    "--against",
    "recording",
    metavar="FILE",
    help="A recording, as `dry-run` reads it: which paths lead nowhere there?",
)
@paths_argument
def lint(output_: str, recording: str | None, paths: tuple[str, ...]) -> None:
    """Check contracts and receivers, each alone and against each other.

    Exit status 2 when there is an error; warnings and hints do not count.
    """
    found = Documents()
    try:
        found = load(paths)
        problems = judge(found, datetime.now(UTC).date())
        if recording is not None:
            problems = in_order([*problems, *unled(found, _outputs(recording))])
    except DocumentErrors as error:
        problems = error.problems
    if output_ == "json":
        output.document([msgspec.to_builtins(problem) for problem in problems])
    else:
        for problem in problems:
            output.say(str(problem))
        output.say(_verdict(found, problems))
    if any(problem.level == "error" for problem in problems):
        sys.exit(2)


def _outputs(recording: str) -> Iterator[ToolOutput]:
    """The tool outputs of a recording that can be read. Raises `BadInputError` where it is none."""
    decode = msgspec.json.Decoder(ToolOutput).decode
    read = bad = 0
    for line in read_lines(recording):
        read += 1
        bad += line.problem is not None and line.problem.startswith(NOT_JSON)
        if line.topic == TOOL_OUTPUTS and line.problem is None:
            with suppress(*UNREADABLE):
                yield decode(line.value)
    if read and bad == read:
        raise BadInputError(
            f"{recording} is no recording: none of its lines is JSON; --against takes what "
            "dry-run and send read, one JSON object a line"
        )


def _verdict(found: Documents, problems: list[Problem]) -> str:
    levels = Counter(problem.level for problem in problems)
    errors, hints = levels["error"], levels["hint"]
    counts = [output.number(errors, "error"), output.number(levels["warning"], "warning")]
    if hints:
        counts.append(output.number(hints, "hint"))
    if errors and not found.locations:
        return ", ".join(counts)
    read = [
        output.number(len(found.contracts), "contract"),
        output.number(len(found.receivers), "receiver"),
    ]
    if found.intake_sources:
        read.append(f"{output.number(len(found.intake_sources), 'source')} (see: sources lint)")
    return f"{' and '.join(read)}: {', '.join(counts)}"


@click.command("apply")
@paths_argument
def apply_contracts(paths: tuple[str, ...]) -> None:
    """Register the contracts below PATH with the cluster, and wait until it has them.

    A registered version never changes but in its status: another body is refused.
    """
    found = load_documents(paths)
    cluster = connect()
    register_contracts(cluster, found)
    if found.receivers:
        left = output.number(len(found.receivers), "receiver")
        output.say(f"left {left}; register with: handoff receivers apply {' '.join(paths)}")
    _say_sources_left(found, paths)


def register_contracts(cluster: Cluster, found: Documents, *, quiet: bool = False) -> None:
    """Lint and register contracts. Raises `BadInputError` and `DeclinedError`; then none is."""
    registered = read_documents(cluster, CONTRACTS)
    _lint_or_stop(found, cluster, quiet)
    changed: dict[str, bytes] = {}
    refused: list[str] = []
    said: list[str] = []
    for contract in found.contracts:
        name = documents.key(contract)
        there = registered.get(name)
        if contract.owner.name == documents.UNKNOWN:
            refused.append(f"{name} has the owner UNKNOWN: name the person who owns it")
        elif contract.action.startswith(documents.EDIT):
            refused.append(f"{name} has the action of a draft: say what the receiver is to do")
        elif there is None:
            changed[name] = documents.to_json(contract)
            said.append(f"registered  {name} ({contract.status})")
        elif not isinstance(there, HandoffContract) or not documents.same_body(there, contract):
            refused.append(
                f"{name} is registered with another body: raise the version to "
                f"{_next_version(contract, registered)}, and set this one to deprecated if need be"
            )
        elif there.status != contract.status:
            changed[name] = documents.to_json(contract)
            said.append(f"changed     {name} from {there.status} to {contract.status}")
        else:
            said.append(f"unchanged   {name} ({contract.status})")
    if refused:
        raise DeclinedError("nothing was registered:\n" + "\n".join(refused))
    _register(cluster, CONTRACTS, changed, said, quiet)


def _next_version(contract: HandoffContract, registered: dict[str, Document]) -> int:
    versions = [
        each.version
        for each in registered.values()
        if isinstance(each, HandoffContract) and each.id == contract.id
    ]
    return max(versions, default=contract.version) + 1


@click.command("apply")
@paths_argument
def apply_receivers(paths: tuple[str, ...]) -> None:
    """Register the receivers below PATH with the cluster, and wait until it has them.

    Warns of registered contracts whose receiver is then retired, or still not registered.
    """
    found = load_documents(paths)
    cluster = connect()
    contracts = registered_contracts(cluster)
    register_receivers(cluster, found)
    receivers = read_documents(cluster, RECEIVERS).values()
    there = {each.id: each for each in receivers if isinstance(each, Receiver)}
    for warning in nobody_receives(contracts, there):
        output.say(f"warning: {warning}", err=True)
    queues = [each.queue for each in found.receivers if each.queue and each.status == "active"]
    seen = cluster.look(queues)
    lacking = [queue for queue in queues if queue not in seen.topics and queue not in seen.hidden]
    if lacking:
        output.say(f"not there yet: {', '.join(lacking)}; make it with: handoff topics apply")
    if seen.hidden:
        hidden = missing(Right("DESCRIBE", "topic", queue) for queue in seen.hidden)
        output.say(f"whether each queue is there cannot be seen: {hidden}")
    if found.contracts:
        left = output.number(len(found.contracts), "contract")
        output.say(f"left {left}; register with: handoff contracts apply {' '.join(paths)}")
    _say_sources_left(found, paths)


def _say_sources_left(found: Documents, paths: tuple[str, ...]) -> None:
    if found.intake_sources:
        left = output.number(len(found.intake_sources), "source")
        output.say(f"left {left}; register with: handoff sources apply {' '.join(paths)}")


def register_receivers(cluster: Cluster, found: Documents, *, quiet: bool = False) -> None:
    """Lint and register receivers. Raises `BadInputError`; then none is registered."""
    registered = read_documents(cluster, RECEIVERS)
    _lint_or_stop(Documents((), found.receivers, found.locations), cluster, quiet)
    changed, said = changes(found.receivers, registered)
    written = {receiver.id: documents.to_json(receiver) for receiver in changed}
    _register(cluster, RECEIVERS, written, said, quiet)


Given = TypeVar("Given", Receiver, Source)


def changes(
    given: Iterable[Given], registered: Mapping[str, object]
) -> tuple[list[Given], list[str]]:
    """Which of some documents are to be written, and what is said of each."""
    changed: list[Given] = []
    said: list[str] = []
    for document in given:
        there = registered.get(document.id)
        word = "registered" if there is None else "changed"
        if there == document:
            word = "unchanged"
        else:
            changed.append(document)
        said.append(f"{word:<12}{document.id} ({document.status})")
    return changed, said


def _loops(found: Documents, cluster: Cluster) -> Iterator[Problem]:
    """Receivers whose queue is a topic of ours on this cluster."""
    ours = {cluster.name(name) for name in NAMES}
    for receiver in found.receivers:
        if receiver.queue in ours:
            yield found.location(receiver).problem(
                ("queue",),
                f"{receiver.queue} is a topic of the processor itself, which would read its own "
                "packages there",
                "give the receiver a queue of its own",
            )


def _lint_or_stop(found: Documents, cluster: Cluster, quiet: bool) -> None:
    """Judge the documents for this cluster, beside the receivers that it has already."""
    given = {receiver.id for receiver in found.receivers}
    beside = [
        each
        for each in (read_documents(cluster, RECEIVERS) if found.contracts else {}).values()
        if isinstance(each, Receiver) and each.id not in given
    ]
    whole = Documents(found.contracts, (*found.receivers, *beside), found.locations)
    registered = {each.id for each in beside}
    problems = [
        *_loops(found, cluster),
        *(
            problem
            for problem in judge(whole, datetime.now(UTC).date())
            if problem.file not in registered
        ),
    ]
    errors = [problem for problem in problems if problem.level == "error"]
    if errors:
        listed = "\n".join(map(str, errors))
        raise BadInputError(f"nothing was registered:\n{listed}")
    if not quiet:
        for problem in problems:
            output.say(str(problem), err=True)


def _register(
    cluster: Cluster, topic: str, changed: dict[str, bytes], said: list[str], quiet: bool
) -> None:
    if changed:
        write_all(cluster, topic, changed.items())
    if not quiet:
        for sentence in said or [f"no {topic.removeprefix('handoff.').removesuffix('s')} is there"]:
            output.say(sentence)


def read_documents(cluster: Cluster, topic: str) -> dict[str, Document]:
    """The registered documents by key; one that cannot be read is left out (`doctor` names it)."""
    found: dict[str, Document] = {}
    for name, value in sorted(read_table(cluster, topic).items()):
        try:
            found[name] = documents.from_json(value)
        except ValidationError:
            continue
    return found


def known_liveness(cluster: Cluster) -> dict[str, Liveness]:
    """What the last probes found, by receiver; what is too old to say anything is left out."""
    if not cluster.has(LIVENESS):
        return {}
    oldest = time.time() - STALE_INTERVALS * cluster.settings.probe_interval
    found: dict[str, Liveness] = {}
    for name, value in read_table(cluster, LIVENESS).items():
        try:
            record = msgspec.json.decode(value, type=Liveness)
        except UNREADABLE:
            continue
        if serde.epoch_ms(record.checked_at) / 1000 >= oldest:
            found[name] = record
    return found


def registered_contracts(cluster: Cluster) -> list[HandoffContract]:
    """The registered contracts, by id and version."""
    found = read_documents(cluster, CONTRACTS).values()
    contracts = [each for each in found if isinstance(each, HandoffContract)]
    return sorted(contracts, key=lambda each: (each.id, each.version))


def shown_by(cluster: Cluster) -> Contracts:
    """What all that is registered says about showing packages; nothing where there is no topic."""
    return shown_of(read_table(cluster, CONTRACTS).values() if cluster.has(CONTRACTS) else ())


@click.command("list")
@output.as_json
def list_contracts(output_: str) -> None:
    """Every registered contract and version."""
    found = registered_contracts(connect())
    if output_ == "json":
        output.document([msgspec.Raw(documents.to_json(each)) for each in found])
        return
    if not found:
        output.say(
            "no contract is registered; register some: handoff contracts apply PATH", err=True
        )
        return
    output.columns(
        ["contract", "status", "workflow", "from", "to", "owner"],
        [
            [
                documents.key(each),
                each.status,
                each.workflow,
                ", ".join(each.from_.stage),
                each.to.receiver,
                each.owner.name,
            ]
            for each in found
        ],
    )


@click.command("show")
@output.as_json
@click.argument("contract", metavar="ID[@VERSION]")
def show(output_: str, contract: str) -> None:
    """One registered contract as YAML; without a version, its highest."""
    found = registered_contracts(connect())
    fitting = [each for each in found if contract in (each.id, documents.key(each))]
    if not fitting:
        known = ", ".join(documents.key(each) for each in found) or "none"
        raise BadInputError(f"no contract {contract} is registered; registered: {known}")
    if output_ == "json":
        output.document(msgspec.Raw(documents.to_json(fitting[-1])))
        return
    written = fitting[-1].model_dump(mode="json", by_alias=True, exclude_defaults=True)
    output.say(yaml_text.document(written), nl=False)


@click.command("list")
@output.as_json
def list_receivers(output_: str) -> None:
    """Every registered receiver."""
    cluster = connect()
    found = read_documents(cluster, RECEIVERS).values()
    receivers = [each for each in found if isinstance(each, Receiver)]
    if output_ == "json":
        output.document([msgspec.Raw(documents.to_json(each)) for each in receivers])
        return
    today = datetime.now(UTC).date()
    known = known_liveness(cluster)
    if not receivers:
        output.say(
            "no receiver is registered; register some: handoff receivers apply PATH", err=True
        )
        return
    output.columns(
        ["receiver", "status", "team", "owner", "live", "queue"],
        [
            [
                each.id,
                each.status,
                each.team,
                owner_in_force(each, today),
                _live(each, known.get(each.id)),
                each.queue or "-",
            ]
            for each in receivers
        ],
    )


def _live(receiver: Receiver, known: Liveness | None) -> str:
    if receiver.consumer_group is None or receiver.status != "active":
        return "-"  # nobody looks
    return "unknown" if known is None else "yes" if known.live else "no"


def owner_in_force(receiver: Receiver, today: date) -> str:
    """The named owner of a receiver on a day: the first one whose time has not ended."""
    for owner in receiver.owners:
        if owner.until is None or owner.until >= today:
            return owner.name
    return "nobody"
