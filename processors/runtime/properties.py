"""librdkafka properties that a user passes through: which are refused, and which must fit together.

Properties that exactly-once or the lane depends on are refused. The time-outs of the others are
checked here, because librdkafka checks only some of them and its messages give no numbers.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

SESSION_TIMEOUT_MS = 10_000  # of the group's members, unless set; Kafka's own default is 45 s
# librdkafka's defaults of what is checked against each other.
HEARTBEAT_MS, MAX_POLL_MS = 3_000, 300_000
# Between two polls a turn may wait 30 s each for its batch (`lane.AGENT_SECONDS`), for the offsets,
# for the commit and for an abort (`transactions.LIMIT_SECONDS`). A lane that hangs is abandoned
# much earlier (`lane_supervisor.STUCK_SECONDS`).
LONGEST_TURN_MS = 120_000
# The largest record with its framing. A record that does not fit into the buffer would wait for
# ever.
LEAST_BUFFER_KBYTES = 8 * 1024

# The properties that are checked, with their defaults.
_CHECKED: Final = {
    "session.timeout.ms": SESSION_TIMEOUT_MS,
    "heartbeat.interval.ms": HEARTBEAT_MS,
    "max.poll.interval.ms": MAX_POLL_MS,
    "queue.buffering.max.kbytes": LEAST_BUFFER_KBYTES,
}
_MOST_DIGITS: Final = 18
_NAMED: Final = re.compile(r"[a-z]+(?:\.[a-z]+)+")
_SECRET_WORDS = ("password", "passphrase", "secret", "key.pem", "jaas", "token", "bearer.config")
_ALL_ACKS = "a transaction needs the word of all replicas in sync"
_IN_FLIGHT = "the idempotent producer keeps the order by its own limit"
_RETRIES = "a record is sent again until its transaction ends"
_RECORD_TIME = "a record is given up with its transaction, and not before or after"
_OFFSETS = "offsets are committed with the outputs, in one transaction"
REFUSED = {
    "bootstrap.servers": "set kafka_bootstrap_servers instead",
    "metadata.broker.list": "set kafka_bootstrap_servers instead",  # librdkafka's other name
    "group.id": "it follows from application_id",
    "group.instance.id": "it follows from application_id and ordinal",
    "group.protocol": "the protocol must keep partitions of one number together",
    "group.protocol.type": "the protocol must keep partitions of one number together",
    "group.remote.assignor": "the assignor must keep partitions of one number together",
    "partition.assignment.strategy": "the assignor must keep partitions of one number together",
    "transactional.id": "it follows from application_id and ordinal",
    "transaction.timeout.ms": "how long a transaction may take is what the limits are made for",
    "enable.idempotence": "transactions need it",
    "enable.gapless.guarantee": "a record that fails must abort its transaction, not the producer",
    "acks": _ALL_ACKS,
    "request.required.acks": _ALL_ACKS,
    "max.in.flight": _IN_FLIGHT,
    "max.in.flight.requests.per.connection": _IN_FLIGHT,
    "retries": _RETRIES,
    "message.send.max.retries": _RETRIES,
    "queuing.strategy": "the idempotent producer sends in order",
    "message.timeout.ms": _RECORD_TIME,
    "delivery.timeout.ms": _RECORD_TIME,
    "message.max.bytes": "it is that of the topics, 4 MiB",
    "delivery.report.only.error": "the lane hears of what was not delivered",
    "socket.max.fails": "a request without an answer must break its connection",
    "isolation.level": "only committed records may be judged",
    "enable.auto.commit": _OFFSETS,
    "auto.commit.enable": _OFFSETS,
    "enable.auto.offset.store": _OFFSETS,
    "offset.store.method": _OFFSETS,
    "auto.offset.reset": "the setting gap says what happens to missing records",
    "partitioner": "a task must lie in the same partition of every topic",
    "enable.partition.eof": "restoration reads by it",
    "statistics.interval.ms": "nobody reads the clients' statistics here; see /metrics",
}


def problems(given: Mapping[str, str]) -> list[str]:
    """What is wrong with these properties, a sentence each."""
    found = [f"{name} cannot be set: {REFUSED[name]}" for name in given if name in REFUSED]
    numbers: dict[str, int] = {}
    for name, default in _CHECKED.items():
        text = given.get(name, str(default))
        if text.strip().isdecimal() and text.isascii() and len(text) <= _MOST_DIGITS:
            numbers[name] = int(text)
        else:
            found.append(f"{name} must be a whole number, such as {default}")
    if len(numbers) < len(_CHECKED):
        return found  # they are compared once they are numbers
    session, heartbeat, poll, buffer = numbers.values()
    if poll < LONGEST_TURN_MS:
        found.append(
            f"max.poll.interval.ms is {poll:,}, and a turn of the processor may take "
            f"{LONGEST_TURN_MS:,}; set at least that"
        )
    elif poll < session:
        found.append(
            f"max.poll.interval.ms ({poll:,}) is less than session.timeout.ms ({session:,}); "
            "set the first at least as high"
        )
    if session < 2 * heartbeat:
        found.append(
            f"session.timeout.ms is {session:,}, and heartbeat.interval.ms is {heartbeat:,}; "
            "set twice the interval at least, or one late heartbeat costs the partitions"
        )
    if buffer < LEAST_BUFFER_KBYTES:
        found.append(
            f"queue.buffering.max.kbytes is {buffer:,}, and the largest record needs "
            f"{LEAST_BUFFER_KBYTES:,}; set at least that"
        )
    return found


def place(text: str, given: Iterable[str], file: str = "handoff.toml") -> str:
    """Where the property of `given` stands that a text is about: variable and file."""
    lacking = _NAMED.findall(text) if "must be set" in text else ()
    found = next((name for name in lacking if name not in given), None)
    if found is None:
        found = max((name for name in given if name in text), key=len, default=None)
    if found is None:
        return f"HANDOFF_KAFKA__..., or [kafka] in {file}"
    variable = found.upper().replace(".", "_")
    return f"HANDOFF_KAFKA__{variable}, or {found} under [kafka] in {file}"


def masked(properties: Mapping[str, str]) -> dict[str, str]:
    """The properties with stars in place of secrets, to be shown to people."""
    return {
        name: "***" if any(word in name for word in _SECRET_WORDS) else value
        for name, value in properties.items()
    }
