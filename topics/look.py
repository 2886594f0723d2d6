"""Looks topics up by their names, with what this client may do with them.

In a list of all topics those are left out that the client may not see, as if they did not exist.
When Kafka is asked for a topic by its name, it says that the right is missing. The question creates
no topic.
"""

from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient
from msgspec import Struct

from topics.rights import Right

_ABSENT = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.LEADER_NOT_AVAILABLE,  # it is being created
    KafkaError.TOPIC_EXCEPTION,  # no topic can have such a name
)


class Seen(Struct, frozen=True):
    """A topic that exists: the broker that leads each partition (-1: none yet), and the operations
    that this client may do on it (None when the cluster does not say)."""

    leaders: dict[int, int]
    allowed: frozenset[str] | None


class Look(Struct, frozen=True):
    """The topics that exist, and the names that are `hidden`: this client may not see whether they
    exist. All other names that were asked for do not exist."""

    topics: dict[str, Seen]
    hidden: frozenset[str]

    def lacks(self, needed: Iterable[Right]) -> list[Right]:
        """Those of the `needed` rights on topics that are missing, as far as the cluster says."""
        return [right for right in needed if not self._allows(right)]

    def _allows(self, right: Right) -> bool:
        seen = self.topics.get(right.name)
        if seen is None:
            return right.name not in self.hidden
        return seen.allowed is None or right.operation in seen.allowed


def look(admin: AdminClient, names: Iterable[str], seconds: float) -> Look:
    """Look up the topics `names` (DescribeTopics, KIP-430). Raises `KafkaException` without an
    answer within `seconds`."""
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
            described = answer.result()
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                hidden.add(name)
            elif code not in _ABSENT:
                raise
            continue
        topics[name] = Seen(
            {
                each.id: -1 if each.leader is None else each.leader.id
                for each in described.partitions
            },
            _allowed(described.authorized_operations),
        )
    return Look(topics, frozenset(hidden))


def _allowed(operations: list[AclOperation] | None) -> frozenset[str] | None:
    """A client that sees a topic has the right to describe it. When that right is not in the
    answer, the cluster does not say which rights there are: None."""
    allowed = frozenset(each.name for each in operations or ())
    return allowed if AclOperation.DESCRIBE.name in allowed else None
