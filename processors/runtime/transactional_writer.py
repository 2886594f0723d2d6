"""Produces outputs and changelog records into the open transaction of a lane."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message

from processors.runtime.transactions import Abortable, AbortCause, LaneError, Transactions
from schemas import serde
from schemas.flow import Output
from topics.catalogue import physical

_ANY: Final = -1  # partition: the client chooses it by the key


class TransactionalWriter:
    """Produces the records of a transaction. When the producer's buffer is full, it waits.

    `published` counts the outputs of the open transaction by canonical topic, one that Kafka
    refused included. `size` is the bytes of all its values. With `report`, `changelog_ends` is the
    offset after the last changelog record that was delivered, by partition. `beat` is called before
    each attempt of a call that is repeated. When `produce` to a topic fails, the error that `why`
    returns is raised.
    """

    def __init__(
        self,
        transactions: Transactions,
        changelog: str,
        prefix: str,
        beat: Callable[[], None],
        why: Callable[[KafkaException, str], LaneError],
        *,
        report: bool,
    ) -> None:
        self._transactions = transactions
        self._changelog = physical(changelog, prefix)
        self._prefix = prefix
        self._beat = beat
        self._why = why
        self._report = report
        self._names: dict[str, str] = {}  # canonical -> physical
        self.published: Counter[str] = Counter()
        self.size = 0
        self.changelog_ends: dict[int, int] = {}

    def publish(self, outputs: Iterable[Output]) -> None:
        """Produce outputs, in their order."""
        names, published = self._names, self.published
        produce: Callable[..., None] = self._transactions.producer.produce
        for output in outputs:
            topic = names.get(output.topic)
            if topic is None:
                topic = names[output.topic] = physical(output.topic, self._prefix)
            published[output.topic] += 1  # also where it is refused: its right is needed
            value, key, at, headers = output.value, output.key, output.timestamp, output.headers
            # By position, with no callback: to read names takes the client a third of its time.
            given = (topic, value, key, _ANY, None, None, at, headers)
            try:
                produce(*given)
            except BufferError:
                self._produce(*given)
            except KafkaException as error:
                raise self._why(error, topic) from None
            self.size += len(value or b"")
        self._transactions.producer.poll(0)

    def write_changelog(self, changes: list[tuple[int, str, bytes | None]]) -> None:
        """Produce changelog records: (input partition, state key, encoded state).

        With `report`, the last record of each partition reports its offset. Raises `Abortable` when
        a state is too large.
        """
        last = {number: key for number, key, _ in changes} if self._report else {}
        topic, most = self._changelog, serde.MAX_RECORD_BYTES
        produce: Callable[..., None] = self._transactions.producer.produce
        for number, key, state in changes:
            if state is not None and len(state) + len(key) > most:
                raise Abortable(
                    f"a state of {len(state):,} bytes is too large for the changelog",
                    AbortCause.RECORD,
                )
            on_delivery = self._on_changelog_delivered if last.get(number) == key else None
            try:
                produce(topic, state, key.encode(), number, on_delivery)
            except BufferError:
                self._produce(topic, state, key.encode(), number, on_delivery)
            except KafkaException as error:
                raise self._why(error, topic) from None
            self.size += len(state or b"")

    def clear(self) -> None:
        """The transaction has ended: reset `published` and `size`."""
        self.published.clear()
        self.size = 0

    def _on_changelog_delivered(self, error: KafkaError | None, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        if error is None and partition is not None and offset is not None:
            self.changelog_ends[partition] = offset + 1

    def _produce(self, topic: str, *given: Any) -> None:
        """Wait until the full buffer has room, then produce."""
        producer = self._transactions.producer
        while True:
            self._beat()
            producer.poll(0.05)
            try:
                producer.produce(topic, *given)
                return
            except BufferError:
                continue
            except KafkaException as error:
                raise self._why(error, topic) from None
