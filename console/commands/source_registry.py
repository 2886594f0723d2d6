"""`handoff sources apply | list | replay | remove`: sources on a cluster."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime

import click
import msgspec
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec
from pydantic import ValidationError

from console import output
from console.commands.documents import changes, load_documents, paths_argument
from console.errors import BadInputError, DeclinedError
from console.kafka import ANSWER_SECONDS, Cluster, connect, failed, read_table, write_all
from console.render import clock
from processors.contracts.feeding import POSITIONS, read_to
from processors.intake.registry import ReplayRequest, is_replay, replay_key
from processors.runtime import clients
from processors.runtime.foreign_marks import read_mark
from processors.runtime.groups import offsets
from processors.runtime.restoration import Place
from schemas import serde, sources
from schemas.lint_sources import lint_sources
from schemas.loading import Documents
from schemas.printable import listed
from schemas.records import SourcePosition
from schemas.sources import TOPIC, Source
from schemas.unreadable import UNREADABLE
from schemas.yaml_source import Problem
from topics.catalogue import NAMES
from topics.rights import Right, missing

GROUP = "intake"
_OBEY_SECONDS = 15.0
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]


# --- apply -----------------------------------------------------------------------------------


@click.command("apply")
@paths_argument
def apply_sources(paths: tuple[str, ...]) -> None:
    """Register the sources below PATH with the cluster, and wait until it has them.

    A source that changes counts from the next record on; it reads nothing again by itself.
    """
    found = load_documents(paths)
    cluster = connect()
    register_sources(cluster, found)
    left = [
        output.number(len(documents), kind)
        for documents, kind in ((found.contracts, "contract"), (found.receivers, "receiver"))
        if documents
    ]
    if left:
        output.say(
            f"left {' and '.join(left)}; register with: handoff contracts apply, receivers apply"
        )


def register_sources(cluster: Cluster, found: Documents, *, quiet: bool = False) -> None:
    """Lint and register sources. Raises `BadInputError`; then none is registered."""
    registered = read_sources(cluster)
    problems = [*_of_ours(cluster, found), *lint_sources(found)]
    if errors := [problem for problem in problems if problem.level == "error"]:
        raise BadInputError("nothing was registered:\n" + "\n".join(map(str, errors)))
    changed, said = changes(found.intake_sources, registered)
    if changed:
        write_all(cluster, TOPIC, [(source.id, sources.to_json(source)) for source in changed])
    if quiet:
        return
    for problem in problems:
        output.say(str(problem), err=True)
    for sentence in said or ["no source is there"]:
        output.say(sentence)
    _say_unread(cluster, found.intake_sources)


def _of_ours(cluster: Cluster, found: Documents) -> Iterable[Problem]:
    """Sources that would read what the processors write."""
    ours = {cluster.name(name) for name in NAMES}
    for source in found.intake_sources:
        for topic in source.topic:
            if topic in ours:
                yield found.location(source).problem(
                    ("topic",),
                    f"{topic} is a topic of the processor itself",
                    "name the topic that your tools write to",
                )


def _say_unread(cluster: Cluster, given: Iterable[Source]) -> None:
    """Topics that are not there, or hidden from us: they are read once they are."""
    topics = sorted({t for source in given if source.status == "active" for t in source.topic})
    seen = cluster.look(topics)
    lacking = [topic for topic in topics if topic not in seen.topics and topic not in seen.hidden]
    if lacking:
        output.say(f"not there yet: {listed(lacking)}; read as soon as it is", err=True)
    if seen.hidden:
        hidden = missing(Right("DESCRIBE", "topic", topic) for topic in seen.hidden)
        output.say(f"whether each topic is there cannot be seen: {hidden}", err=True)


def read_sources(cluster: Cluster) -> dict[str, Source]:
    """The registered sources by id; one that cannot be read is left out."""
    found: dict[str, Source] = {}
    for name, value in sorted(read_table(cluster, TOPIC).items()):
        if is_replay(name):
            continue
        try:
            found[name] = sources.from_json(value)
        except ValidationError:
            output.say(f"{name} cannot be used as a source; register it again", err=True)
    return found


# --- list ------------------------------------------------------------------------------------


class ListedSource(msgspec.Struct):
    """A source, and how far it is read: `lag` in records; `read_to` and `last_record_at` in UTC."""

    id: str
    status: str
    topics: tuple[str, ...]
    owner: str
    lag: int | None
    read_to: datetime | None
    last_record_at: datetime | None


@click.command("list")
@output.as_json
def list_sources(output_: str) -> None:
    """Every registered source, and how far it is read."""
    cluster = connect()
    registered = read_sources(cluster)
    told = list(_positions(cluster))
    lags = _lags(cluster, {topic for source in registered.values() for topic in source.topic})
    found = [_listed(source, told, lags) for source in registered.values()]
    if output_ == "json":
        output.document(msgspec.to_builtins(found))
        return
    if not found:
        output.say("no source is registered; register some: handoff sources apply PATH", err=True)
        return
    output.columns(
        ["source", "status", "topic", "owner", "behind", "read to", "last record"],
        [
            [
                each.id,
                each.status,
                ", ".join(each.topics),
                each.owner,
                "-" if each.lag is None else f"{each.lag:,}",
                clock(each.read_to),
                clock(each.last_record_at),
            ]
            for each in found
        ],
    )


def _listed(source: Source, told: list[SourcePosition], lags: dict[str, int]) -> ListedSource:
    own = [each for each in told if each.source == source.id and each.topic in source.topic]
    last = [each.last_record_at for each in own if each.last_record_at is not None]
    moment = read_to(source.topic, own)
    known = [lags[topic] for topic in source.topic if topic in lags]
    return ListedSource(
        id=source.id,
        status=source.status,
        topics=tuple(source.topic),
        owner=source.owner.name,
        lag=sum(known) if known else None,
        read_to=None if moment is None else serde.utc(moment),
        last_record_at=max(map(_utc, last), default=None),
    )


def _utc(when: datetime | int) -> datetime:
    return serde.utc(serde.epoch_ms(when))


def _positions(cluster: Cluster) -> Iterable[SourcePosition]:
    for value in read_table(cluster, POSITIONS).values():
        try:
            yield msgspec.json.decode(value, type=SourcePosition)
        except UNREADABLE:
            continue


def _lags(cluster: Cluster, topics: set[str]) -> dict[str, int]:
    """The records of each topic that wait to be read, where anything was read."""
    places = _places(cluster, topics)
    group = clients.group_id(cluster.settings, GROUP)
    try:
        at = offsets(cluster.settings, group, places, ANSWER_SECONDS)
        ends = cluster.admin.list_offsets(
            {TopicPartition(*place): _LATEST for place in places}, request_timeout=ANSWER_SECONDS
        )
        last = {(p.topic, p.partition): clients.offset_of(f.result()) for p, f in ends.items()}
    except KafkaException as error:
        raise failed(cluster.settings, error.args[0], Right("DESCRIBE", "group", group)) from None
    lags: dict[str, int] = {}
    for each in at:
        if each.offset >= 0:
            behind = max(0, last[each.topic, each.partition] - each.offset)
            lags[each.topic] = lags.get(each.topic, 0) + behind
    return lags


def _places(cluster: Cluster, topics: Iterable[str]) -> list[Place]:
    """The partitions of the topics that exist. Raises `DeclinedError` where that is hidden."""
    seen = cluster.look(topics)
    if seen.hidden:
        raise DeclinedError(missing(Right("DESCRIBE", "topic", topic) for topic in seen.hidden))
    return [(topic, number) for topic, found in seen.topics.items() for number in found.leaders]


# --- replay and remove -----------------------------------------------------------------------


@click.command("replay")
@click.argument("source", metavar="ID")
@click.option(
    "--from",
    "begin",
    required=True,
    metavar="TIME",
    help="From the records of this time on, such as 2026-03-01T09:00:00Z.",
)
def replay(source: str, begin: str) -> None:
    """Have a source read its topics again, from a time on.

    What comes of it is backfill: nobody is paged. Ids are the same as before, so what is known
    already counts as a repeat. New records of its topics wait until the replay has caught up.
    """
    moment = _time(begin)
    cluster = connect()
    registered = _known(cluster, source)
    if registered.status != "active":
        raise DeclinedError(f"{source} is {registered.status}, so nothing of it is read")
    places = _places(cluster, registered.topic)
    if not places:
        names = ", ".join(registered.topic)
        raise DeclinedError(
            f"there is nothing to read again for {source}: no topic of that name exists ({names}); "
            "check the names with: handoff sources list"
        )
    _begun(cluster, source, places, 0)  # whether that can be seen
    asked = datetime.now(UTC)
    request = ReplayRequest(source=source, begin=moment, asked_at=asked)
    write_all(cluster, TOPIC, [(replay_key(source), serde.encode(request))])
    output.say(f"asked       {source} from {moment:%Y-%m-%dT%H:%M:%SZ} on")
    limit = time.monotonic() + _OBEY_SECONDS
    while time.monotonic() < limit:
        again = _begun(cluster, source, places, serde.epoch_ms(asked))
        if again is not None:
            left = f"{output.number(again, 'record')} left to read again"
            output.say(f"begun       {left if again else 'and caught up again already'}")
            return
        time.sleep(0.2)
    output.say("no intake has begun it yet; it begins once one runs: handoff run", err=True)


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadInputError(
            f"--from {text!r} is no time; write one such as 2026-03-01T09:00:00Z"
        ) from None
    if found.tzinfo is None:
        raise BadInputError(f"--from {text!r} has no offset; add Z for UTC, or one such as +02:00")
    try:
        return found.astimezone(UTC)
    except OverflowError:  # its offset leads out of the calendar
        raise BadInputError(f"--from {text!r} lies outside of the years 1 to 9999") from None


def _begun(cluster: Cluster, source: str, places: list[Place], asked_at: int) -> int | None:
    """How many records are to be read again, once every partition has begun; else None."""
    group = clients.group_id(cluster.settings, GROUP)
    try:
        found = offsets(cluster.settings, group, places, ANSWER_SECONDS)
    except KafkaException as error:
        raise failed(cluster.settings, error.args[0], Right("DESCRIBE", "group", group)) from None
    again = 0
    for each in found:
        mark = read_mark(each.metadata)
        if mark is None or mark.obeyed.get(source, 0) < asked_at:
            return None
        if mark.live:
            again += mark.live - min(mark.again.values(), default=mark.live)
    return again


@click.command("remove")
@click.argument("source", metavar="ID")
def remove(source: str) -> None:
    """Take a source from the registry: its topics are read no more for it.

    What it has brought stays. Where it is registered again, it goes on where its topics were left.
    """
    cluster = connect()
    _known(cluster, source)
    write_all(cluster, TOPIC, [(source, None), (replay_key(source), None)])
    output.say(f"removed     {source}")


def _known(cluster: Cluster, source: str) -> Source:
    registered = read_sources(cluster)
    if source not in registered:
        names = [*registered]
        known = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if names[5:] else "")
        raise BadInputError(f"no source {source} is registered; registered: {known or 'none'}")
    return registered[source]
