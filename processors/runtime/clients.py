"""Makes all Kafka clients: the properties that each role needs override those that the user passes.

Values other than librdkafka's defaults were measured: when two transactions follow each other at
once, each takes 97 ms with `retry.backoff.ms` at 100, and 3 to 5 ms with 5.
"""

import logging
import ssl
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

from processors.runtime.connection_log import ConnectionLog
from processors.runtime.properties import SESSION_TIMEOUT_MS, place
from processors.runtime.settings import Settings, SettingsError
from topics.admin import Admin

log = logging.getLogger("handoff.kafka")

# As `max.message.bytes` of the topics, so that producer and broker refuse the same records.
MAX_MESSAGE_BYTES = 4 << 20
# How long a zombie's open transaction can block readers of the changelog. librdkafka's default is a
# minute.
TRANSACTION_TIMEOUT_MS = 10_000
FOREIGN_REFRESH_MS = 5_000
_ANY_SIZE = 2**31 - 1  # bytes; the most that librdkafka takes
_QUIET_SECONDS = 10.0
# A client closes within milliseconds. A consumer that leaves its group may take one network
# time-out. A client that hangs never closes.
CLOSE_SECONDS = 8.0
# Properties that name a file, or a directory of them.
_FILES = frozenset(
    {
        "ssl.ca.location",
        "ssl.certificate.location",
        "ssl.crl.location",
        "ssl.key.location",
        "ssl.keystore.location",
        "https.ca.location",
    }
)
_SHORTEST = 4  # a shorter value is no secret, and may be part of any text


class RateLimit(logging.Filter):
    """Lets one line of a kind pass in ten seconds: librdkafka repeats a line 20 times a second.

    The kind is librdkafka's facility (`FAIL`, `ERROR`, ...), the word at the start of its message.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.getMessage().partition(" ")[0]
        if kind == "CONFWARN":  # consumer properties are passed to producers on purpose
            return False
        now = time.monotonic()
        if now - self._last.get(kind, -_QUIET_SECONDS) < _QUIET_SECONDS:
            return False
        self._last[kind] = now
        return True


log.addFilter(RateLimit())
# A producer that has failed for good warns again when it is closed.
warnings.filterwarnings("ignore", "Producer .* failed during close", RuntimeWarning)


def instance_id(settings: Settings, processor: str) -> str:
    """The `group.instance.id` and `transactional.id` of a lane. It is stable only with an
    ordinal."""
    ordinal = uuid.uuid4().hex[:12] if settings.ordinal is None else settings.ordinal
    return f"{settings.application_id}-{processor}-{ordinal}"


def group_id(settings: Settings, processor: str) -> str:
    """The consumer group of a processor, in which its instances share the partitions."""
    return f"{settings.application_id}-{processor}"


def group_consumer(
    settings: Settings, processor: str, instance: str, *, apart: bool = False
) -> Consumer:
    """The consumer of a lane's inputs. With an ordinal in the settings it is a static member.

    The partitions of one number go to the same member, but with `apart` each goes to any: so the
    topics of others, which often have one partition, are spread over the members. Raises
    `SettingsError` for a property that librdkafka does not know.
    """
    member = {} if settings.ordinal is None else {"group.instance.id": instance}
    return _consumer(
        settings,
        {
            "session.timeout.ms": SESSION_TIMEOUT_MS,
            "queued.min.messages": 100_000,
            "fetch.message.max.bytes": MAX_MESSAGE_BYTES,
            "fetch.queue.backoff.ms": 10,
            "fetch.wait.max.ms": 50,
            # So soon partitions that somebody adds to a topic of theirs are read.
            **({"topic.metadata.refresh.interval.ms": FOREIGN_REFRESH_MS} if apart else {}),
        },
        {
            "group.id": group_id(settings, processor),
            # Partition n of every input goes to the same member, because their state is one.
            "partition.assignment.strategy": "roundrobin" if apart else "range",
            "auto.offset.reset": "error",
            # Timers wait until the inputs are read to their ends, and only this event tells.
            "enable.partition.eof": True,
            **member,
        },
    )


def reader(settings: Settings) -> Consumer:
    """A read_committed consumer that never joins a group and reports the end of each partition."""
    return _consumer(
        settings,
        {
            "fetch.message.max.bytes": MAX_MESSAGE_BYTES,
            "fetch.queue.backoff.ms": 10,
            # For an empty partition the end is reported after a fetch has waited this long.
            "fetch.wait.max.ms": 50,
        },
        {
            # It never joins, but librdkafka requires a group id.
            "group.id": f"{settings.application_id}-reader",
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
        },
    )


def onlooker(settings: Settings, group: str) -> Consumer:
    """A consumer that never joins a group, and only asks what the group has committed."""
    return _consumer(settings, {}, {"group.id": group, "auto.offset.reset": "error"})


def transactional_producer(
    settings: Settings,
    instance: str,
    on_delivery: Callable[[KafkaError | None, Message], None],
    *,
    report: bool,
) -> tuple[Producer, ConnectionLog]:
    """The producer of a lane, and the log of its connections. `on_delivery` is called for records
    that were not delivered. With `report`, delivered records are reported too, to the callback that
    `produce` was given: it gets their offsets."""
    debug = settings.kafka.get("debug")
    connections = ConnectionLog(log, verbose=debug is not None)
    producer: Producer = _make(
        Producer,
        {
            **_common(settings),
            # A commit does not wait for it. With 5 the client's thread needs 10 microseconds of CPU
            # for each input, with 20 it needs 6. With 100 it needs no less, and large commits take
            # longer.
            "linger.ms": 20,
            "batch.size": 1 << 20,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 256 * 1024,  # then `BufferError`, and the lane waits
            "retry.backoff.ms": 5,
            **settings.kafka,
            "message.max.bytes": MAX_MESSAGE_BYTES,
            "debug": ConnectionLog.DEBUG if debug is None else f"{debug},{ConnectionLog.DEBUG}",
            "socket.max.fails": 1,
            "transactional.id": instance,
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            "delivery.report.only.error": not report,
            "on_delivery": on_delivery,
            "partitioner": "murmur2_random",
        },
        connections,
    )
    return producer, connections


def plain_producer(settings: Settings, give_up_seconds: float) -> Producer:
    """An idempotent producer without transactions. A record that is not delivered within
    `give_up_seconds` is dropped with an error."""
    producer: Producer = _make(
        Producer,
        {
            **_common(settings),
            "linger.ms": 5,
            **settings.kafka,
            "message.max.bytes": MAX_MESSAGE_BYTES,
            "message.timeout.ms": int(give_up_seconds * 1000),
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",
        },
    )
    return producer


class ConnectionErrors:
    """Collects why a client has no connection: a call only times out, and gives no reason.

    The reasons come in error callbacks and in log lines. Both are delivered while the client is
    polled. `found` holds the code (None for a log line) and the text of each, in their order.
    """

    def __init__(self) -> None:
        self.found: list[tuple[int | None, str]] = []

    def on_error(self, error: KafkaError) -> None:
        """As `error_cb`."""
        self.found.append((error.code(), error.str()))

    def log(self, level: int, line: str, facility: str, *given: object) -> None:
        """As `logger`. Lines that are not about a failed connection go to the log of this
        module."""
        if facility == "FAIL":
            self.found.append((None, str(given[-1])))
        else:
            log.log(level, line, facility, *given)


def admin(settings: Settings, errors: ConnectionErrors | None = None) -> AdminClient:
    """A client for metadata and offsets. `errors` collects why it has no connection."""
    config = {**_common(settings), **settings.kafka}
    if errors is not None:
        config["error_cb"] = errors.on_error
    client: Admin = _make(Admin, config, errors or log)
    return client


def failure_of(error: BaseException) -> KafkaError | None:
    """Kafka's error in an exception, or None if there is none.

    When a producer has failed for good, `poll` and `flush` raise it, and no callback is called.
    When that happens inside of a callback, it is the cause of a `SystemError`.
    """
    cause = error.__cause__ if isinstance(error, SystemError) else error
    return cause.args[0] if isinstance(cause, KafkaException) else None


def offset_of(answer: Any) -> int:
    """The offset in an answer of `list_offsets`. Raises `KafkaException`.

    While a broker restarts, librdkafka 2.16 answers with the offset -1001 and no error.
    """
    offset = int(answer.offset)
    if offset < 0:
        raise KafkaException(KafkaError(KafkaError._NO_OFFSET, "no offset was told"))
    return offset


def _consumer(
    settings: Settings, defaults: Mapping[str, Any], needed: Mapping[str, Any]
) -> Consumer:
    consumer: Consumer = _make(
        Consumer,
        {
            **_common(settings),
            # The embedded broker answers a fetch with all that there is, whatever was asked for.
            # What is longer than this is asked for again and again, and never read.
            "receive.message.max.bytes": _ANY_SIZE,
            **defaults,
            **settings.kafka,
            **needed,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
        },
    )
    return consumer


def _common(settings: Settings) -> dict[str, Any]:
    return {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "client.id": settings.application_id,
        "reconnect.backoff.max.ms": 1000,
        "error_cb": _on_error,
    }


def _on_error(error: KafkaError) -> None:
    log.warning("%s: %s", error.name(), error.str())


def close(call: Callable[[], object], what: str) -> None:
    """Close a client with `call`, and wait for `CLOSE_SECONDS` at most. A client that is not closed
    by then is left as it is, with its threads and connections. `what` names it in the log."""

    def body() -> None:
        try:
            call()
        except (KafkaException, RuntimeError, RuntimeWarning) as error:
            log.info("while closing %s: %s", what, error)

    thread = threading.Thread(target=body, name=f"close-{what}", daemon=True)
    thread.start()
    thread.join(CLOSE_SECONDS)
    if thread.is_alive():
        log.warning("%s did not close within %.0f s and is left behind", what, CLOSE_SECONDS)


def close_admin(client: AdminClient) -> None:
    """Close an admin client: it can be closed only as a context manager."""
    close(lambda: client.__exit__(None, None, None), "an admin client")


def _make(kind: Any, config: dict[str, Any], logger: Any = log) -> Any:
    for name in _FILES & config.keys():
        _check_file(name, config[name])
    try:
        return kind(config, logger=logger)
    except KafkaException as error:
        reason = without_values(error.args[0].str().strip(), config)
        raise SettingsError(
            f"Kafka clients refuse the settings: {reason}; see {place(reason, config)}"
        ) from None


def _check_file(name: str, path: str) -> None:
    """Raises `SettingsError` when a file cannot be read, or when a certificate is needed and it
    holds none. librdkafka does not say so in words, and 2.16 aborts the process when it signs in
    with OAUTHBEARER besides."""
    if path in ("", "probe"):  # none, or librdkafka looks for the system's own
        return
    try:
        with open(path, "rb"):
            pass
        if name.endswith("ca.location"):
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except IsADirectoryError:
        return  # of certificates
    except ssl.SSLError:
        why = "it holds no certificate in PEM form"
    except OSError as error:
        why = error.strerror or "no reason is told"
    except ValueError:
        why = "it is no path"
    else:
        return
    raise SettingsError(
        f"the file that {name} names cannot be used ({why}); see {place(name, [name])}"
    )


def without_values(text: str, config: Mapping[str, Any]) -> str:
    """`text` of librdkafka with stars in place of the values of properties. librdkafka quotes
    values that it does not understand, and such a value may be a secret in the wrong property."""
    for value in config.values():
        long = isinstance(value, str) and len(value) >= _SHORTEST
        if long and not any(value in name for name in config):
            text = text.replace(value, "***")
    return text
