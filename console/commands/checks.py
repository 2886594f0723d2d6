"""What a check of `handoff doctor` found."""

import msgspec
from confluent_kafka import KafkaException

from console.errors import DeclinedError
from console.kafka import ANSWER_SECONDS, Cluster
from topics.rights import Right, reason


class CheckResult(msgspec.Struct):
    """One check: `state` is ok, note or problem; `todo` is empty where nothing is to be done."""

    check: str
    state: str
    what: str
    todo: str = ""


def declined(check: str, error: DeclinedError) -> CheckResult:
    """What the cluster did not allow to look at."""
    what, _, todo = error.message.rpartition("; ")
    return CheckResult(check, "problem", what, todo)


def members_of(cluster: Cluster, group: str) -> int:
    """How many members a consumer group has. Raises `DeclinedError` where nobody tells."""
    try:
        asked = cluster.admin.describe_consumer_groups([group], request_timeout=ANSWER_SECONDS)
        return len(asked[group].result().members)
    except KafkaException as error:
        why = f"the group {group} cannot be read: "
        why += reason(error.args[0], Right("DESCRIBE", "group", group))
        raise DeclinedError(why) from None
