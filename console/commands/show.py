"""`handoff show`: the whole story of one task, from the topics or from a recording."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

import click
from msgspec.structs import replace

from console import linked, others, output, render, sequence, story, story_render
from console.commands.documents import load_documents, registered_contracts, shown_by
from console.dry_run import DryRun
from console.errors import FOUND_PROBLEMS, BadInputError, CommandError
from console.kafka import connect, read_all, read_table
from console.limits import limits
from console.lines import INPUTS, Line, check_readable, read_lines
from console.masking import Mask
from console.story_veil import values_of, veiled
from processors.contracts.registry import CONTRACTS, RECEIVERS
from processors.integrity.processor import INTEGRITY, integrity
from processors.partitioning import partition_of
from processors.runtime.settings import load_settings
from schemas import documents, serde
from schemas.flow import Record
from schemas.links import LINKS
from schemas.printable import plain
from topics.catalogue import DEFAULT_PARTITIONS

_HANDOFF_ID = re.compile("h-[0-9a-f]{32}")
HELD = "handoff.held"


@click.command(short_help="Tell the whole story of a task.")
@click.argument("task")
@click.option("--workflow", help="Which one, where several have a task of this id.")
@click.option("--values", is_flag=True, help="Show captured values too, but no classified ones.")
@click.option(
    "--from",
    "recording",
    metavar="FILE",
    help="Tell it from a recording, without a broker: lines as `dry-run` reads them.",
)
@click.option(
    "--contracts",
    "paths",
    metavar="PATH",
    multiple=True,
    help="With --from: contracts and receivers, a YAML file or a directory. May be given again.",
)
@output.as_json
def show(
    task: str,
    workflow: str | None,
    values: bool,
    recording: str | None,
    paths: tuple[str, ...],
    output_: str,
) -> None:
    """Tell the whole story of TASK: captures, handoffs, what broke, and who owns it now; under all
    of its names, where it goes on under others.

    Exit status 1 when nobody has heard of the task.
    """
    if paths and recording is None:
        raise BadInputError(
            "--contracts goes with --from; without it the registered ones are taken"
        )
    source = _OnTopics() if recording is None else _Rehearsal(recording, paths)
    contracts = {documents.key(each): each for each in source.contracts}
    snapshot = INTEGRITY.build_tables(source.tables, None)

    def tell(events: list[sequence.Event], name: str, id_: str) -> story.TaskStory:
        mask = Mask(source.shown.classified(name), values_of(events))
        known = story.versions(events) <= contracts.keys()
        if values and not known:
            output.say("a contract of this task is not at hand, so no value is shown", err=True)
        return story.tell(
            [veiled(event, mask, known) for event in events],
            id_,
            name,
            contracts=contracts,
            reveals=lambda name, raw: values and known and mask.shows(name, raw),
            others=others.of_others(events, name, snapshot),
        )

    records = source.read(task)
    events = sequence.in_order(sequence.of_task(records, task))
    name = _workflow(story.workflows(events), task, workflow, source.where)
    linked_ = _linked((name, task), records, source.read, tell)
    told = replace(tell(events, name, task), linked=linked_)
    with output.ends_cleanly():
        if output_ == "json":
            output.document(told)
            return
        terminal = render.console()
        for part in story_render.rendered(told, source.now):
            terminal.print(part)


def _linked(
    task: linked.Task,
    records: list[Record],
    read: Callable[[str], list[Record]],
    tell: Callable[[list[sequence.Event], str, str], story.TaskStory],
) -> list[story.TaskStory]:
    """The stories of all tasks that a task is linked with, over as many links as there are."""
    seen, pending = {task}, sorted(linked.linked(records, task))
    found: list[story.TaskStory] = []
    while pending and len(found) < linked.MOST:
        other = pending.pop(0)
        if other in seen:
            continue
        seen.add(other)
        workflow, id_ = other
        there = read(id_)
        events = sequence.in_order(sequence.of_task(there, id_))
        if workflow in story.workflows(events):
            found.append(tell(events, workflow, id_))
        pending += sorted(linked.linked(there, other) - seen)
    return found


def _workflow(found: list[str], task: str, asked: str | None, where: str) -> str:
    """The workflow to tell of. Raises `CommandError` when there is none, or several."""
    if not found:
        todo = (
            "that is the id of a handoff, and TASK is the task_id that tools send; "
            "handoff held list names the task of what is held, the console's search of any"
            if _HANDOFF_ID.fullmatch(task)
            else "TASK is the task_id that tools send, spelled as they do"
        )
        raise CommandError(
            f"nobody has heard of a task {task!r} at {where}; {todo}", FOUND_PROBLEMS
        )
    listed = ", ".join(map(plain, found))
    if asked is None and len(found) > 1:
        raise BadInputError(
            f"several workflows have a task {task!r}: {listed}; say which: --workflow NAME"
        )
    if asked is not None and asked not in found:
        raise CommandError(
            f"the workflow {asked!r} has no task {task!r}; these have: {listed}", FOUND_PROBLEMS
        )
    return asked or found[0]


class _OnTopics:
    """What the topics hold of tasks, and the documents that are registered."""

    def __init__(self) -> None:
        self._cluster = cluster = connect()
        self.contracts, self.shown = registered_contracts(cluster), shown_by(cluster)
        self.tables = {
            name: read_table(cluster, name) if cluster.has(name) else {}
            for name in (CONTRACTS, RECEIVERS)
        }
        self.now, self.where = datetime.now(UTC), cluster.settings.kafka_bootstrap_servers

    def read(self, task: str) -> list[Record]:
        """What the topics hold under the key of the task; of handoff.held, all that is there."""
        cluster = self._cluster
        topics = (*INPUTS, *sequence.OUTPUTS, *([LINKS] if cluster.has(LINKS) else []))
        only = {topic: [cluster.partition_of(topic, task)] for topic in topics if topic != HELD}
        return list(read_all(cluster, topics, only=only))


class _Rehearsal:
    """The processor over a recording: its inputs and what it publishes, as records."""

    def __init__(self, path: str, paths: Iterable[str]) -> None:
        check_readable(path)
        found = load_documents(paths)
        self.tables = {
            CONTRACTS: {documents.key(each): documents.to_json(each) for each in found.contracts},
            RECEIVERS: {documents.key(each): documents.to_json(each) for each in found.receivers},
        }
        self.contracts, self.shown = found.contracts, render.Contracts(found.contracts)
        self.where = path
        # As in `dry-run`: a recording may span years, and nothing of it is forgotten.
        within = replace(limits(load_settings()), task_ttl_ms=None, handoff_ttl_ms=None)
        self._run = DryRun(integrity(within), self.tables, DEFAULT_PARTITIONS)
        self._inputs: list[Record] = []
        self._offsets: Counter[tuple[str, int]] = Counter()  # a dead letter names its input by it
        self._records = list(self._judged())
        self.now = serde.utc(self._run.now)

    def read(self, _: str) -> list[Record]:
        """The records of all tasks."""
        return self._records

    def _judged(self) -> Iterator[Record]:
        """Inputs and outputs; their timestamps are the recording's clock."""
        progress = output.Progress(
            lambda: f"{output.number(self._run.summary.inputs, 'line')} judged"
        )
        for number, made in enumerate(self._run.run(self._noted(), source=self.where)):
            progress.tick()
            yield Record(
                made.topic,
                0,
                number,
                key=made.key,
                value=made.value,
                timestamp=self._run.now,
                headers=made.headers,
            )
        yield from self._inputs

    def _noted(self) -> Iterator[Line]:
        for line in read_lines(self.where):
            if line.key is not None:
                at = max(self._run.now, line.occurred_at or 0)
                partition = partition_of(line.key, DEFAULT_PARTITIONS)
                place = line.topic, partition
                self._inputs.append(Record(*place, self._offsets[place], line.key, line.value, at))
                self._offsets[place] += 1
            yield line
