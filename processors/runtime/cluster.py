"""What the cluster must have before a processor may run: topics, rights, equal partition counts."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from processors.processor import AnyProcessor, Processor, Relay
from processors.runtime.groups import held_state
from processors.runtime.settings import Settings
from processors.runtime.transactions import Blocked, Fatal, LaneError, Misconfigured, ended_by
from schemas.serde import DEAD_LETTERS
from topics.catalogue import physical
from topics.look import Look, look
from topics.rights import Right, missing, reason

_NO_ID = "A" * 22  # 16 bytes of zero: a broker that gives topics no ids
CALL_SECONDS = 6.0
# A topic that was just created, or one on a broker that has just restarted, may not be seen at
# once.
_LOOKS, _LOOK_SECONDS = 3, 0.7


def check_topics(admin: AdminClient, settings: Settings, processor: Processor[Any]) -> int:
    """The number of partitions that the processor's inputs and its changelog have.

    Raises `Misconfigured` when a topic is missing, or when inputs and changelog have different
    numbers of partitions: the state of a task would not be in the partition of its next input.
    Raises `Blocked` when a right is missing, because somebody may grant it, and `Fatal` when the
    cluster does not answer.
    """
    needed = rights_on_topics(processor, settings.topic_prefix)
    names = list(dict.fromkeys(right.name for right in needed))
    seen = _seen(admin, processor.name, needed, lambda found: _lost(settings, processor, found))
    counts = {name: len(topic.leaders) for name, topic in seen.topics.items()}
    bound = names[: len(processor.inputs) + 1]
    if len({counts[name] for name in bound}) > 1:
        listed = ", ".join(f"{name} has {counts[name]}" for name in bound)
        raise Misconfigured(
            f"the inputs of {processor.name} and its changelog must have the same number of "
            f"partitions, but {listed}; make them equal (and empty) before it runs"
        )
    return counts[bound[0]]


def check_relay_topics(admin: AdminClient, settings: Settings, relay: Relay) -> None:
    """Raises `Misconfigured` when a topic of ours that the relay needs is missing, and else what
    `check_topics` raises. The topics of others come and go."""
    needed = rights_on_topics(relay, settings.topic_prefix)
    _seen(admin, relay.name, needed, lambda _: "")


def _seen(
    admin: AdminClient, processor: str, needed: list[Right], lost: Callable[[Look], str]
) -> Look:
    """The topics that the rights are on. `lost` tells what goes with one that is not there."""
    names = list(dict.fromkeys(right.name for right in needed))
    for number in range(_LOOKS):
        if number:
            time.sleep(_LOOK_SECONDS)
        seen = _look(admin, names)
        lacking = seen.lacks(needed)
        absent = [name for name in names if name not in seen.topics and name not in seen.hidden]
        if not lacking and not absent:
            return seen
    if lacking:
        raise Blocked(f"{processor} cannot run: {missing(lacking)}")
    raise Misconfigured(
        f"the topic {absent[0]} does not exist, and {processor} needs it; "
        "create what is missing with: handoff topics apply" + lost(seen)
    )


def _lost(settings: Settings, processor: Processor[Any], seen: Look) -> str:
    """What the group has judged, where the changelog alone is missing: a new one lacks it."""
    first, *inputs = (physical(name, settings.topic_prefix) for name in processor.inputs)
    changelog = physical(processor.changelog, settings.topic_prefix)
    if changelog in seen.topics or any(name not in seen.topics for name in (first, *inputs)):
        return ""
    said = held_state(settings, processor, len(seen.topics[first].leaders))
    return f". {said}" if said else ""


def rights_on_topics(processor: AnyProcessor, prefix: str) -> list[Right]:
    """The rights on topics that a processor needs all the time, inputs and changelog first."""
    read: tuple[str, ...] = processor.tables
    written: tuple[str, ...] = (*processor.outputs, DEAD_LETTERS)
    if not isinstance(processor, Relay):
        read = (*processor.inputs, processor.changelog, *read)
        written = (processor.changelog, *written)
    return [
        Right(operation, "topic", physical(name, prefix))
        for operation, topics in (("READ", read), ("WRITE", written))
        for name in topics
    ]


def refusal_reason(admin: AdminClient, error: KafkaError, *needed: Right) -> str:
    """The sentence for a request that Kafka has refused: which of the `needed` rights is missing.
    When several topics are concerned, Kafka does not say which one, so they are looked up."""
    topics = [right for right in needed if right.kind == "topic"]
    if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        with contextlib.suppress(LaneError):
            lacking = _look(admin, sorted({right.name for right in topics})).lacks(topics)
            if lacking:
                return missing(lacking)
    return reason(error, *needed)


def _look(admin: AdminClient, names: list[str]) -> Look:
    try:
        return look(admin, names, CALL_SECONDS)
    except KafkaException as error:
        why = f"the topics cannot be looked up: {reason(error.args[0])}"
        raise ended_by(error.args[0], why) from None


def topic_id(admin: AdminClient, topic: str) -> str:
    """The id of a topic (KIP-516), empty when the broker gives none. A topic that is deleted and
    created again has another id. Raises `Fatal`."""
    try:
        (asked,) = admin.describe_topics(
            TopicCollection([topic]), request_timeout=CALL_SECONDS
        ).values()
        return id_of(asked.result(CALL_SECONDS + 1))
    except (KafkaException, TimeoutError) as error:
        raise Fatal(f"the topic {topic} cannot be described: {error}") from None


def id_of(described: Any) -> str:
    """The id in a `TopicDescription`."""
    found = str(described.topic_id)
    return "" if found == _NO_ID else found
