"""Topics looked up by their names, with what this client may do with them.

A list of all topics leaves out those that a client may not see: they would look as if they did not
exist. Asked by name, Kafka says that it does not tell. Nothing is created by asking.
"""

from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient
from msgspec import Struct

from topics.rights import Right

_ABSENT = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.LEADER_NOT_AVAILABLE,  # it is just being made
    KafkaError.TOPIC_EXCEPTION,  # no topic can have such a name
)


class Seen(Struct, frozen=True):
    """A topic that is there: the broker that leads each partition (-1: none yet), and the
    operations that are allowed on it, None where the cluster does not tell."""

    leaders: dict[int, int]
    allowed: frozenset[str] | None


class Look(Struct, frozen=True):
    """The topics that are there, and the names of those that this client may not see: nobody tells
    it whether they exist. Whatever else was asked for does not exist."""

    topics: dict[str, Seen]
    hidden: frozenset[str]

    def lacks(self, needed: Iterable[Right]) -> list[Right]:
        """Those rights on topics that are missing, as far as the cluster tells."""
        return [right for right in needed if not self._allows(right)]

    def _allows(self, right: Right) -> bool:
        seen = self.topics.get(right.name)
        if seen is None:
            return right.name not in self.hidden
        return seen.allowed is None or right.operation in seen.allowed


def look(admin: AdminClient, names: Iterable[str], seconds: float) -> Look:
    """Look the topics `names` up (DescribeTopics, KIP-430). Raises `KafkaException` when nobody
    answers within `seconds`."""
    wanted = sorted(set(names))
    if not wanted:
        return Look({}, frozenset())
    answers = admin.describe_topics(
        TopicCollection(wanted), include_authorized_operations=True, request_timeout=seconds
    )
    topics: dict[str, Seen] = {}
    hidden: set[str] = set()
    for name, answer in answers.items():
        try:
            told = answer.result()
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                hidden.add(name)
            elif code not in _ABSENT:
                raise
            continue
        topics[name] = Seen(
            {each.id: -1 if each.leader is None else each.leader.id for each in told.partitions},
            _allowed(told.authorized_operations),
        )
    return Look(topics, frozenset(hidden))


def _allowed(told: list[AclOperation] | None) -> frozenset[str] | None:
    """Who sees a topic may describe it: where that is not among them, the cluster does not tell."""
    allowed = frozenset(each.name for each in told or ())
    return allowed if AclOperation.DESCRIBE.name in allowed else None
