"""`handoff contracts test`: which recorded handoffs a change of contracts would fail or hold."""

import sys
from collections.abc import Iterable, Sequence

import click
import msgspec

from console import output
from console.commands.documents import load_documents
from console.commands.running import limits
from console.dry_run import DryRun
from console.errors import FOUND_PROBLEMS, BadInputError
from console.kafka import connect, read_all, read_table
from console.lines import INPUTS, Line, check_readable, lines_of, moment, read_lines
from console.render import percent
from console.replay import Begins, Difference, Failures, Run, Sample, Shares, compare
from processors.contracts.registry import CONTRACTS, RECEIVERS
from processors.integrity.processor import integrity
from processors.runtime.settings import Settings, load_settings
from schemas import documents
from schemas.documents import HandoffContract, Person
from schemas.loading import Documents
from topics.catalogue import DEFAULT_PARTITIONS

Table = dict[str, bytes]
# A draft may have no owner yet, and is tried all the same; nothing of this run is published.
_ANYBODY = Person(name="not named yet", contact="not named yet")


@click.command("test")
@output.as_json
@click.option(
    "--against", "recording", metavar="FILE", help="The recording, as `dry-run` reads it."
)
@click.option("--from-topic", is_flag=True, help="Against what is on the cluster's input topics.")
@click.option(
    "--contracts",
    "paths",
    metavar="BASE",
    multiple=True,
    help="Contracts and receivers as they are now. May be given again. "
    "Default: none with --against, the registered ones with --from-topic.",
)
@click.option("--since", metavar="TIME", help="Compare only handoffs from TIME on.")
@click.option(
    "--until", metavar="TIME", help="Leave out what came after TIME; the clock ends there."
)
@click.argument("new")
def test(
    output_: str,
    recording: str | None,
    from_topic: bool,
    paths: tuple[str, ...],
    since: str | None,
    until: str | None,
    new: str,
) -> None:
    """Say which recorded handoffs would newly fail, newly pass or be held under NEW.

    NEW is a YAML file, or a directory, of contracts as they would be; drafts and contracts on trial
    are tried as if they were active. The recording is judged twice, by BASE and by BASE with NEW in
    the place of all versions of the same contracts. Receivers in NEW that BASE lacks are there both
    times. Nothing is written anywhere.

    TIMEs are event times (2026-03-01T09:00:00Z); what came before --since still counts as captured.
    Exit status 0 when nothing newly fails or is held, 1 when something does.
    """
    if from_topic == (recording is not None):
        raise click.UsageError("give a recording with --against FILE, or --from-topic")
    begin, end = moment(since) if since else None, moment(until) if until else None
    tried = _in_force(load_documents([new]))
    settings = load_settings()
    if recording is not None:
        check_readable(recording)
        lines = list(read_lines(recording))
        contracts, receivers = _tables(load_documents(paths) if paths else Documents())
    else:
        cluster = connect(settings)
        lines = list(lines_of(read_all(cluster, INPUTS)))
        if paths:
            contracts, receivers = _tables(load_documents(paths))
        else:
            contracts, receivers = read_table(cluster, CONTRACTS), read_table(cluster, RECEIVERS)
    if not contracts and not any(line.topic == CONTRACTS for line in lines):
        registered = from_topic and not paths
        what = "none is registered" if registered else "name the present ones with --contracts"
        output.say(f"compared with no contract; {what}", err=True)
    if end is not None:
        lines = [each for each in lines if each.occurred_at is None or each.occurred_at <= end]
    ids = {each.id for each in tried.contracts}
    new_contracts, new_receivers = _tables(tried)
    others = {key: value for key, value in contracts.items() if _id(key) not in ids}
    steady = [each for each in lines if not _registers(each, ids)]
    before = _run(
        settings,
        lines,
        contracts,
        receivers=new_receivers | receivers,
        end=end,
        source=recording,
        words="as it is",
    )
    after = _run(
        settings,
        steady,
        others | new_contracts,
        receivers=receivers | new_receivers,
        end=end,
        source=recording,
        words="as it would be",
    )
    found = compare(before, after, new_contracts, begin)
    if output_ == "json":
        output.document(found)
    else:
        _tell(found, before, after)
    if found.harms:
        sys.exit(FOUND_PROBLEMS)


def _in_force(found: Documents) -> Documents:
    """The documents, with every contract that is not in force yet as if it were."""
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


def _tables(found: Documents) -> tuple[Table, Table]:
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
    settings: Settings,
    lines: Sequence[Line],
    contracts: Table,
    receivers: Table,
    end: int | None,
    source: str | None,
    words: str,
) -> Run:
    # As in `dry-run`: a recording may span years, and nothing of it is forgotten.
    within = msgspec.structs.replace(limits(settings), task_ttl_ms=None, handoff_ttl_ms=None)
    tables = {CONTRACTS: contracts, RECEIVERS: receivers}
    dry = DryRun(integrity(within), tables, DEFAULT_PARTITIONS)
    run = Run()
    progress = output.Progress(
        lambda: f"{dry.summary.inputs:,} of {output.number(len(lines), 'line')} judged {words}"
    )
    for record in dry.run(lines, end, source):
        progress.tick()
        run.note(record)
    return run


# --- for people ---------------------------------------------------------------------------------


def _tell(found: Difference, before: Run, after: Run) -> None:
    numbers = found.handoffs
    tried = ", ".join(found.contracts)
    if len(found.contracts) > 3:
        tried = output.number(len(found.contracts), "contract")
    output.say(
        f"{tried}: {output.number(numbers.before, 'handoff')} before, "
        f"{numbers.after:,} after; {numbers.concerned:,} under it, before or after"
    )
    if before.dead_letters:
        letters = output.number(before.dead_letters, "line")
        output.say(f"{letters} could not be understood, and count for nothing", err=True)
    if not numbers.concerned:
        workflows = sorted(
            {each.workflow for run in (before, after) for each in run.handoffs.values()}
        )
        seen = ", ".join(workflows[:5]) or "none"
        output.say(
            f"nothing was tested: no handoff falls under it; workflows with handoffs: {seen}"
        )
        return
    rows = [
        *_failures("newly fails", found.newly_failing),
        *_sample("newly held", "", found.newly_held),
        *_begins("newly begins", found.newly_begun),
        *_failures("newly passes", found.newly_passing),
        *_sample("no longer held", "", found.no_longer_held),
        *_begins("begins no more", found.not_begun),
    ]
    if rows:
        output.columns(["", "what", "at", "handoffs", "errors", "tasks, for example"], rows)
    output.say(f"fidelity      {_shares(found.fidelity)}")
    output.say(f"completeness  {_shares(found.completeness)}")
    output.say(
        f"{output.number(found.newly_failing.handoffs, 'handoff')} newly failing, "
        f"{found.newly_held.handoffs:,} newly held, {found.newly_passing.handoffs:,} newly passing"
    )


def _failures(words: str, found: Failures) -> list[list[str]]:
    return [
        [
            words,
            each.kind,
            each.field or each.rule or "-",
            f"{each.handoffs:,}",
            f"{each.errors:,}",
            ", ".join(each.tasks),
        ]
        for each in found.by
    ]


def _sample(words: str, what: str, found: Sample) -> list[list[str]]:
    if not found.handoffs:
        return []
    return [[words, what or "-", "-", f"{found.handoffs:,}", "-", ", ".join(found.tasks)]]


def _begins(words: str, found: list[Begins]) -> list[list[str]]:
    return [
        row
        for each in found
        for row in _sample(words, each.begun, Sample(each.handoffs, each.tasks))
    ]


def _shares(found: Shares) -> str:
    return f"{percent(found.before)} -> {percent(found.after)}"
