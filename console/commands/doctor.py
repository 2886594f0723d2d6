"""`handoff doctor`: whether all that the processor needs is there."""

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click
import confluent_kafka
import msgspec
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType
from pydantic import ValidationError
from rich.text import Text

from console import linked, output
from console.commands.checks import CheckResult, declined, members_of
from console.commands.doctor_alerts import alerts
from console.commands.documents import known_liveness, read_documents
from console.commands.source_registry import GROUP as INTAKE
from console.commands.source_registry import read_sources
from console.commands.topics import PROCESSORS, topic_changes
from console.errors import FOUND_PROBLEMS, DeclinedError
from console.kafka import ANSWER_SECONDS, Cluster, connect, read_all, read_table
from console.render import clock
from processors.contracts.feeding import SOURCES
from processors.contracts.registry import CONTRACTS, RECEIVERS
from processors.processor import Processor
from processors.runtime import clients
from processors.runtime.changelog_marks import (
    REBUILD,
    ChangelogBounds,
    ChangelogMark,
    loss_since,
    lost,
    newest,
)
from processors.runtime.cluster import topic_id
from processors.runtime.groups import held_state, offsets
from processors.runtime.restoration import bounds
from processors.runtime.transactions import Blocked, LaneError
from schemas import documents, serde
from schemas.documents import HandoffContract, Receiver
from schemas.links import LINKS
from schemas.lint import lint
from schemas.loading import Documents
from schemas.printable import plain
from topics.catalogue import TopicError, TopicRightError
from topics.plan import Refusal
from topics.rights import Right, is_refusal, reason

OLDEST = 5  # links that are named
MESSAGES = 20_000  # between tasks that are read of a partition, the newest ones
_STYLE = {"ok": "green", "note": "yellow", "problem": "bold red"}


@click.command()
@output.as_json
def doctor(output_: str) -> None:
    """Look at broker, topics, documents, processors and alerts.

    Exit status 1 when there is a problem.
    """
    cluster = connect()
    found = list(_broker(cluster))
    found += _as_far_as_told("topics", _topics(cluster))
    found += _documents(cluster)
    for processor in PROCESSORS:
        found += _as_far_as_told("processor", _processor(cluster, processor))
    found += _as_far_as_told("sources", _sources(cluster))
    found += _as_far_as_told("liveness", _receivers(cluster))
    found += _as_far_as_told("links", _links(cluster))
    found += _as_far_as_told("alerts", alerts(cluster))
    if output_ == "json":
        output.document(msgspec.to_builtins(found))
    else:
        output.table(
            ["check", "", "what was found", "what to do"],
            [
                [each.check, Text(each.state, _STYLE[each.state]), each.what, each.todo]
                for each in found
            ],
        )
    if any(each.state == "problem" for each in found):
        sys.exit(FOUND_PROBLEMS)


def _as_far_as_told(check: str, findings: Iterator[CheckResult]) -> Iterator[CheckResult]:
    """The findings up to one that the cluster does not allow to make, which is one too."""
    try:
        yield from findings
    except DeclinedError as error:
        yield declined(check, error)


def _broker(cluster: Cluster) -> Iterator[CheckResult]:
    brokers = cluster.brokers
    servers = cluster.settings.kafka_bootstrap_servers
    count = f"{len(brokers)} broker{'' if len(brokers) == 1 else 's'}"
    yield CheckResult("broker", "ok", f"{servers} answers ({count})")
    versions = [
        f"confluent-kafka {confluent_kafka.__version__}",
        f"librdkafka {confluent_kafka.libversion()[0]}",
    ]
    if told := _broker_version(cluster.admin, brokers[0]):
        versions.append(f"broker {told}")
    yield CheckResult("versions", "ok", ", ".join(versions))


def _broker_version(admin: AdminClient, broker: int) -> str | None:
    """The protocol version that a broker tells in its settings; Kafka does until 3.x."""
    resource = ConfigResource(ResourceType.BROKER, str(broker))
    try:
        (answer,) = admin.describe_configs([resource], request_timeout=ANSWER_SECONDS).values()
        entries: dict[str, Any] = answer.result()
    except KafkaException:
        return None
    told = entries.get("inter.broker.protocol.version")
    return None if told is None else told.value


def _topics(cluster: Cluster) -> Iterator[CheckResult]:
    try:
        changes = topic_changes(cluster)
    except TopicError as error:
        right = isinstance(error, TopicRightError)
        advice = "grant it" if right else "correct the receiver, then apply again"
        yield CheckResult("topics", "problem", str(error), advice)
        return
    for change in changes:
        if isinstance(change, Refusal):
            yield declined("topics", DeclinedError(change.reason))
        else:
            yield CheckResult("topics", "problem", f"to do: {change}", "handoff topics apply")
    if not changes:
        yield CheckResult("topics", "ok", "all as the catalogue wants them")
    for processor in PROCESSORS:
        yield from _partitions(cluster, processor)


def _partitions(cluster: Cluster, processor: Processor[Any]) -> Iterator[CheckResult]:
    topics = (*processor.inputs, processor.changelog)
    seen = cluster.look(topics).topics
    counts = {
        topic: len(seen[cluster.name(topic)].leaders)
        for topic in topics
        if cluster.name(topic) in seen
    }
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{topic} {count}" for topic, count in counts.items())
        todo = "start with another topic prefix, or make the topics alike"
        yield CheckResult("partitions", "problem", f"unequal: {listed}", todo)
    elif counts:
        what = f"{next(iter(counts.values()))} on inputs and state of {processor.name}"
        yield CheckResult("partitions", "ok", what)


def _documents(cluster: Cluster) -> Iterator[CheckResult]:
    found: list[HandoffContract | Receiver] = []
    all_read = True
    for topic in (CONTRACTS, RECEIVERS):
        kind = topic.removeprefix("handoff.")
        try:
            if not cluster.has(topic):
                continue
            table = read_table(cluster, topic)
        except DeclinedError as error:
            all_read = False
            yield declined(kind, error)
            continue
        for key, value in sorted(table.items()):
            try:
                found.append(documents.from_json(value))
            except ValidationError as error:
                what = f"{key} cannot be used, and handoffs do without it: "
                what += documents.complaint(error)
                yield CheckResult(
                    kind, "problem", what, f"correct it, then: handoff {kind} apply PATH"
                )
        if table:
            yield CheckResult(kind, "ok", f"{len(table)} registered")
        else:
            yield CheckResult(kind, "note", "none registered", f"handoff {kind} apply PATH")
    whole = Documents(
        tuple(each for each in found if isinstance(each, HandoffContract)),
        tuple(each for each in found if isinstance(each, Receiver)),
    )
    for problem in lint(whole, datetime.now(UTC).date()) if all_read else ():
        state = "problem" if problem.level == "error" else "note"
        yield CheckResult(problem.file, state, problem.message, problem.suggestion)


def _processor(cluster: Cluster, processor: Processor[Any]) -> Iterator[CheckResult]:
    group = clients.group_id(cluster.settings, processor.name)
    admin = cluster.admin
    try:
        described = admin.describe_consumer_groups([group], request_timeout=ANSWER_SECONDS)
        members = len(described[group].result().members)
        at = _offsets(cluster, group, processor.inputs)
        lag = _lag(cluster, admin, at)
        lacks = _lacks(cluster, processor, newest((p.partition, p.metadata) for p in at))
    except KafkaException as error:
        cause = error.args[0]
        why = f"the group {group} cannot be read: "
        why += reason(cause, Right("DESCRIBE", "group", group))
        todo = "" if is_refusal(cause) else "; handoff run, or look at the broker"
        yield declined("processor", DeclinedError(why + todo))
        return
    behind = (
        "nothing was committed yet" if lag is None else f"{output.number(lag, 'record')} behind"
    )
    if members:
        what = f"{output.number(members, 'member')} in {group}, {behind}"
        yield CheckResult("processor", "ok", what)
    else:
        todo = REBUILD if lacks else "handoff run"
        yield CheckResult("processor", "problem", f"none runs in {group}; {behind}", todo)
    if lacks:
        yield CheckResult("state", "problem", lacks, f"to read the inputs anew: {REBUILD}")


def _sources(cluster: Cluster) -> Iterator[CheckResult]:
    """The sources, their topics, and who reads them; nothing where none is registered."""
    registered = read_sources(cluster) if cluster.has(SOURCES) else {}
    active = [source for source in registered.values() if source.status == "active"]
    if not active:
        return
    yield CheckResult("sources", "ok", f"{len(registered)} registered")
    seen = cluster.look({topic for source in active for topic in source.topic})
    for source in active:
        for topic in source.topic:
            if topic not in seen.topics and topic not in seen.hidden:
                what = f"{source.id}: the topic {topic} does not exist"
                yield CheckResult("sources", "problem", what, "create it, or correct the source")
    group = clients.group_id(cluster.settings, INTAKE)
    if members := members_of(cluster, group):
        yield CheckResult("sources", "ok", f"{output.number(members, 'member')} in {group}")
    elif seen.topics or seen.hidden:  # without any, an intake that runs has no group to be in
        what = f"none runs in {group}, so no source is read, and deadlines wait"
        yield CheckResult("sources", "problem", what, "handoff run")


def _links(cluster: Cluster) -> Iterator[CheckResult]:
    """The links that wait for a task that never came, as far as the newest messages tell."""
    if not cluster.has(LINKS):
        return
    records = read_all(cluster, [LINKS], "messages between tasks", last=MESSAGES)
    waiting = linked.waiting(records, time.time_ns() // 1_000_000)
    if not waiting:
        return
    oldest = [
        f"{plain(each.task[1])} ({plain(each.task[0])}) continues {plain(each.continues[1])} "
        f"({plain(each.continues[0])}), since {clock(serde.utc(each.since))}"
        for each in waiting[:OLDEST]
    ]
    what = f"{output.number(len(waiting), 'link')} to a task that has not come: {'; '.join(oldest)}"
    more = len(waiting) - len(oldest)
    todo = (
        "compare workflow and id with what the other tool sends; where the link is wrong, send "
        "`unlinked`. It is forgotten after task_ttl_ms"
    )
    yield CheckResult("links", "note", f"{what}; and {more:,} more" if more else what, todo)


def _receivers(cluster: Cluster) -> Iterator[CheckResult]:
    """What the probe found of each receiver that names a consumer group."""
    try:
        registered = read_documents(cluster, RECEIVERS) if cluster.has(RECEIVERS) else {}
    except DeclinedError:  # which was said of the documents
        return
    watched = [
        (each, each.consumer_group)
        for each in registered.values()
        if isinstance(each, Receiver) and each.status == "active" and each.consumer_group
    ]
    known = known_liveness(cluster) if watched else {}
    for receiver, group in watched:
        record = known.get(receiver.id)
        if record is None:
            what = f"{receiver.id}: nobody has looked at {group} of late; it counts as live"
            todo = "handoff run, or the right to describe the group"
            yield CheckResult("liveness", "note", what, todo)
            continue
        lag = "" if record.lag is None else f", {output.number(record.lag, 'record')} behind"
        if record.live:
            members = output.number(record.members, "member")
            yield CheckResult("liveness", "ok", f"{receiver.id}: {members} in {group}{lag}")
        else:
            at = record.last_live_at
            last = "" if at is None else f" since {clock(serde.utc(serde.epoch_ms(at)))}"
            what = f"{receiver.id}: nobody in {group}{last}{lag}"
            yield CheckResult("liveness", "note", what, "start whoever reads the receiver's queue")


def _offsets(cluster: Cluster, group: str, inputs: tuple[str, ...]) -> list[TopicPartition]:
    """What the group has committed of the inputs that are there, negative where nothing."""
    places = [
        (cluster.name(topic), partition)
        for topic in inputs
        if cluster.has(topic)
        for partition in cluster.partitions(topic)
    ]
    return offsets(cluster.settings, group, places, ANSWER_SECONDS)


def _lacks(
    cluster: Cluster, processor: Processor[Any], marks: dict[int, ChangelogMark]
) -> str | None:
    """What the changelog lacks of all that the group's offsets say, in a sentence."""
    if not marks:
        return None
    changelog = cluster.name(processor.changelog)
    seen = cluster.look([processor.changelog])
    if changelog in seen.hidden:
        return None  # which was said of the topics
    if changelog not in seen.topics:
        return held_state(cluster.settings, processor, max(marks) + 1)
    there = marks.keys() & seen.topics[changelog].leaders.keys()
    try:
        id_ = topic_id(cluster.admin, changelog)
        has = bounds(cluster.admin, [(changelog, number) for number in sorted(there)])
    except LaneError as error:
        todo = "" if isinstance(error, Blocked) else "; look at the broker"
        raise DeclinedError(f"{error}{todo}") from None
    now = {number: ChangelogBounds(id_, at.first, at.end) for (_, number), at in has.items()}
    lacks = {n: why for n in there if (why := loss_since(marks[n], now[n], processor.format))}
    group = clients.group_id(cluster.settings, processor.name)
    return lost(changelog, group, lacks) if lacks else None


def _lag(cluster: Cluster, admin: AdminClient, at: list[TopicPartition]) -> int | None:
    """Records of the inputs that the group has not judged; None when it never committed. `at` is
    what it has committed."""
    if not at:
        return None
    places = [TopicPartition(place.topic, place.partition) for place in at]
    read = {(place.topic, place.partition): place.offset for place in at if place.offset >= 0}
    latest, earliest = OffsetSpec.latest(), OffsetSpec.earliest()  # type: ignore[no-untyped-call]
    ends = admin.list_offsets(dict.fromkeys(places, latest), request_timeout=ANSWER_SECONDS)
    starts = admin.list_offsets(dict.fromkeys(places, earliest), request_timeout=ANSWER_SECONDS)
    behind: dict[tuple[str, int], tuple[int, int]] = {}
    for place in places:
        name = place.topic, place.partition
        begin = read.get(name, clients.offset_of(starts[place].result()))
        end = clients.offset_of(ends[place].result())
        if end > begin:
            behind[name] = begin, end
    for name in _only_markers(cluster, behind):
        del behind[name]
    lag = sum(end - begin for begin, end in behind.values())
    return lag if read or lag else None


def _only_markers(
    cluster: Cluster, behind: dict[tuple[str, int], tuple[int, int]]
) -> list[tuple[str, int]]:
    """The partitions where nothing but markers of transactions lies between begin and end.

    What transactions write ends with one, which is never delivered: a processor commits past it
    only when it has been quiet for a while.
    """
    if not behind:
        return []
    found: list[tuple[str, int]] = []
    waiting = dict(behind)
    reader = clients.reader(cluster.settings)
    try:
        reader.assign(
            [TopicPartition(topic, number, begin) for (topic, number), (begin, _) in behind.items()]
        )
        limit = time.monotonic() + ANSWER_SECONDS
        while waiting and time.monotonic() < limit:
            message = reader.poll(0.2)
            if message is None or message.topic() is None:
                continue
            name = message.topic(), message.partition()
            error = message.error()
            if name not in waiting or (error is not None and error.retriable()):
                continue
            _, end = waiting.pop(name)
            at_end = error is not None and error.code() == KafkaError._PARTITION_EOF
            # Before the end: a transaction is open there.
            if at_end and (message.offset() or 0) >= end:
                found.append(name)
    finally:
        reader.close()
    return found
