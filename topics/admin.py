"""The admin client of everything here: Kafka's, with one defect of librdkafka kept away."""

from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

_SECONDS: Final = 10.0


class Admin(AdminClient):
    """An AdminClient whose `list_offsets` cannot end the process.

    librdkafka 2.16 looks up the leaders for `list_offsets` in the thread of the caller. When it
    does not know them yet, and metadata arrive at that moment, its own thread frees what the
    caller still uses: a segmentation fault, about once in 20,000 calls of fresh clients on a busy
    machine (`rd_kafka_topic_partition_list_query_leaders_async_worker`). `describe_topics` is
    answered in librdkafka's thread only, and what it finds is remembered by the client and kept
    fresh. So topics that were never asked for are described first, which waits for the answer.
    """

    def __init__(self, config: dict[str, Any], **given: Any) -> None:
        super().__init__(config, **given)
        self._described: set[str] = set()

    def list_offsets(  # type: ignore[override]
        self, topic_partition_offsets: dict[TopicPartition, OffsetSpec], **given: Any
    ) -> dict[TopicPartition, "Future[Any]"]:
        """As `AdminClient.list_offsets`. Waits for at most `request_timeout` seconds where a topic
        is asked for the first time; without an answer each future has the error."""
        asked = topic_partition_offsets
        unknown = {place.topic for place in asked} - self._described
        if unknown:
            answers = self.describe_topics(
                TopicCollection(sorted(unknown)),
                request_timeout=given.get("request_timeout", _SECONDS),
            )
            for name, answer in answers.items():
                try:
                    answer.result()
                except KafkaException as error:
                    if error.args[0].code() < 0:  # the client's own: nobody has answered
                        return {place: _failed(error) for place in asked}
                else:
                    self._described.add(name)
        return super().list_offsets(asked, **given)


def _failed(error: KafkaException) -> "Future[Any]":
    future: Future[Any] = Future()
    future.set_exception(error)
    return future
