"""`handoff contracts test`: which recorded handoffs a change of contracts would fail or hold."""

import sys
from collections.abc import Callable

import click

from console import output
from console.commands.documents import load_documents
from console.contract_trial import ContractTrial, as_if_active, tables
from console.dry_run import DryRun
from console.errors import FOUND_PROBLEMS
from console.kafka import connect, read_all, read_table
from console.limits import limits
from console.lines import INPUTS, check_readable, lines_of, moment, read_lines
from console.render import percent
from console.replay import Begins, Difference, Failures, Run, Sample, Shares, compare
from processors.contracts.registry import CONTRACTS, RECEIVERS
from processors.runtime.settings import load_settings
from schemas.loading import Documents


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
    tried = as_if_active(load_documents([new]))
    settings = load_settings()
    if recording is not None:
        check_readable(recording)
        lines = list(read_lines(recording))
        contracts, receivers = tables(load_documents(paths) if paths else Documents())
    else:
        cluster = connect(settings)
        lines = list(lines_of(read_all(cluster, INPUTS)))
        if paths:
            contracts, receivers = tables(load_documents(paths))
        else:
            contracts, receivers = read_table(cluster, CONTRACTS), read_table(cluster, RECEIVERS)
    if not contracts and not any(line.topic == CONTRACTS for line in lines):
        registered = from_topic and not paths
        what = "none is registered" if registered else "name the present ones with --contracts"
        output.say(f"compared with no contract; {what}", err=True)
    if end is not None:
        lines = [each for each in lines if each.occurred_at is None or each.occurred_at <= end]
    trial = ContractTrial(tried, contracts, receivers)
    within = limits(settings)
    before, after = (
        judge(within, lines, until=end, source=recording, tick=_ticking(len(lines), words))
        for judge, words in ((trial.before, "as it is"), (trial.after, "as it would be"))
    )
    found = compare(before, after, trial.tried, begin)
    if output_ == "json":
        output.document(found)
    else:
        _tell(found, before, after)
    if found.harms:
        sys.exit(FOUND_PROBLEMS)


def _ticking(lines: int, words: str) -> Callable[[DryRun], None]:
    judged = 0
    progress = output.Progress(
        lambda: f"{judged:,} of {output.number(lines, 'line')} judged {words}"
    )

    def tick(dry: DryRun) -> None:
        nonlocal judged
        judged = dry.summary.inputs
        progress.tick()

    return tick


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
