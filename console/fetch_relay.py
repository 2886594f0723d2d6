"""`python fetch_relay.py OWN_PORT BROKER_PORT`: a relay before the embedded broker.

The embedded broker answers each fetch at once: whoever waits for records would ask it thousands of
times a second, and take a core for that. The relay holds the answer to a fetch that found nothing,
as Apache Kafka does, until the consumer's `max_wait_ms` has passed or something was written. All
else goes through as it is, but for the port in the answers that tell where the broker is.

It ends with SIGTERM, and imports nothing but the standard library: it is there at once.
"""

import asyncio
import sys
import traceback
from asyncio import StreamReader, StreamWriter
from contextlib import suppress
from typing import Final, NamedTuple

HOST: Final = "127.0.0.1"
# Requests, by their keys (https://kafka.apache.org/protocol#protocol_api_keys).
_FETCH: Final = 1
_TELL_ADDRESSES: Final = frozenset({3, 10, 60})  # Metadata, FindCoordinator, DescribeCluster
_WRITE: Final = frozenset({0, 19, 20, 21, 26, 37})  # Produce, topics and partitions, EndTxn
_CLOSED: Final = (asyncio.IncompleteReadError, ConnectionError)
_FETCH_VERSION: Final = 12  # the one that both sides choose; others are not looked into


class _Request(NamedTuple):
    """A request under way: its key and version, how long it may wait (seconds), and how many writes
    there were before it."""

    api: int
    version: int
    wait: float
    writes: int


class FetchRelay:
    """Connections from clients, each with one of its own to the broker at `port`."""

    def __init__(self, own_port: int, port: int) -> None:
        self._port = port
        self._theirs = HOST.encode() + port.to_bytes(4, "big")
        self._ours = HOST.encode() + own_port.to_bytes(4, "big")
        self._writes = 0
        self._written = asyncio.Event()

    async def connect(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve one client until either side closes its connection."""
        try:
            broker_reader, broker_writer = await asyncio.open_connection(HOST, self._port)
        except OSError:
            writer.close()
            return
        under_way: dict[bytes, _Request] = {}
        tasks = (
            asyncio.create_task(self._requests(reader, broker_writer, under_way)),
            asyncio.create_task(self._answers(broker_reader, writer, under_way)),
        )
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(ended, Exception) and not isinstance(ended, _CLOSED):
                    traceback.print_exception(ended)  # our defect: it goes to the broker's log
            broker_writer.close()
            writer.close()

    async def _requests(
        self, reader: StreamReader, broker: StreamWriter, under_way: dict[bytes, _Request]
    ) -> None:
        while True:
            frame = await _frame(reader)
            api, version = _int16(frame, 0), _int16(frame, 2)
            wait = max_wait(frame) if (api, version) == (_FETCH, _FETCH_VERSION) else 0.0
            under_way[frame[4:8]] = _Request(api, version, wait, self._writes)
            _send(broker, frame)
            await broker.drain()

    async def _answers(
        self, broker: StreamReader, writer: StreamWriter, under_way: dict[bytes, _Request]
    ) -> None:
        while True:
            frame = await _frame(broker)
            request = under_way.pop(frame[:4])
            if request.api in _WRITE:
                self._writes += 1
                self._written.set()
                self._written = asyncio.Event()
            elif request.api in _TELL_ADDRESSES:
                frame = frame.replace(self._theirs, self._ours)
            elif request.wait > 0 and request.writes == self._writes and is_empty(frame):
                await self._until_written(request.wait)
            _send(writer, frame)
            await writer.drain()

    async def _until_written(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._written.wait()


def max_wait(frame: bytes) -> float:
    """How long a fetch request of version 12 wants to wait, in seconds."""
    # The header: key, version, correlation id, client id, tags; the body: replica id, max_wait_ms.
    at = 10 + max(_int16(frame, 8), 0)
    _, at = _uvarint(frame, at)
    return _int32(frame, at + 4) / 1000


def is_empty(frame: bytes) -> bool:
    """Whether an answer to a fetch of version 12 has neither a record nor an error."""
    # Correlation id, tags, throttle_time_ms, error_code, session_id, topics.
    if _int16(frame, 9):
        return False
    topics, at = _uvarint(frame, 15)
    for _ in range(topics - 1):
        length, at = _uvarint(frame, at)
        partitions, at = _uvarint(frame, at + length - 1)
        for _ in range(partitions - 1):
            # Index, error_code, three offsets, aborted transactions, preferred_read_replica.
            if _int16(frame, at + 4):
                return False
            aborted, at = _uvarint(frame, at + 30)
            records, at = _uvarint(frame, at + 17 * max(aborted - 1, 0) + 4)
            if records > 1:
                return False
            at += 1  # no tags
        at += 1
    return True


def _int16(frame: bytes, at: int) -> int:
    return int.from_bytes(frame[at : at + 2], "big", signed=True)


def _int32(frame: bytes, at: int) -> int:
    return int.from_bytes(frame[at : at + 4], "big", signed=True)


def _uvarint(frame: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    value = shift = 0
    while True:
        byte = frame[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


async def _frame(reader: StreamReader) -> bytes:
    return await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))


def _send(writer: StreamWriter, frame: bytes) -> None:
    writer.write(len(frame).to_bytes(4, "big") + frame)


async def main() -> None:
    """Serve until the process is ended."""
    own_port, port = map(int, sys.argv[1:])
    relay = FetchRelay(own_port, port)
    async with await asyncio.start_server(relay.connect, HOST, own_port, backlog=1024) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
