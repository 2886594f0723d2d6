"""A proxy before Apache Kafka that tears requests: the client's connection breaks, and the request
reaches the broker later, or was there already, or never comes.

It reads the frames of Kafka's protocol (a length of 4 bytes, then the header: API key, version,
correlation id; see the protocol guide, "Request Header") and changes none of them. Clients come
through it because the broker advertises its port on a listener of its own.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections import Counter
from typing import Final, NamedTuple

from console.brokers import HOST, ApacheKafka, free_port

KINDS: Final = {
    "Produce": 0,
    "InitProducerId": 22,
    "AddPartitionsToTxn": 24,
    "AddOffsetsToTxn": 25,
    "EndTxn": 26,
    "TxnOffsetCommit": 28,
}


class Tear(NamedTuple):
    """The next request of `kind` is torn. It reaches the broker after `seconds`, or never if that
    is None. `cut`: the client's connection breaks at once; else it only waits."""

    kind: str
    seconds: float | None
    cut: bool = True


class TearingKafka(ApacheKafka):
    """One node with a second listener, `torn`, which is reached through the proxy. Use it as a
    context, as any broker. `tear` says what is torn next; `torn_kinds` counts what was."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        super().__init__(directory)
        self._behind = free_port()
        self._listener = socket.create_server((HOST, 0))
        self.torn = f"{HOST}:{self._listener.getsockname()[1]}"
        self.torn_kinds: Counter[str] = Counter()
        self._next: Tear | None = None
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._closing = False

    def _properties(self) -> str:
        own, behind = f"PLAINTEXT://{self.bootstrap_servers}", f"TORN://{HOST}:{self._behind}"
        lines = {
            "listeners": f"{own},{behind},CONTROLLER://{HOST}:{self._controller_port}",
            "advertised.listeners": f"{own},TORN://{self.torn}",
            "listener.security.protocol.map": (
                "PLAINTEXT:PLAINTEXT,TORN:PLAINTEXT,CONTROLLER:PLAINTEXT"
            ),
            "inter.broker.listener.name": "PLAINTEXT",
        }
        return super()._properties() + "".join(f"{key}={value}\n" for key, value in lines.items())

    def start(self) -> None:
        super().start()
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self, kill: bool = False) -> None:
        self._closing = True
        self._listener.close()
        with self._lock:
            for each in self._open:
                each.close()
        super().stop(kill)

    def tear(self, what: Tear) -> None:
        """Tear the next request of a kind, if none is to be torn yet."""
        with self._lock:
            self._next = self._next or what

    def cut(self) -> None:
        """Cut all connections that are open now."""
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):  # gone already
                    each.shutdown(socket.SHUT_RDWR)

    @property
    def waits(self) -> bool:
        """Whether a request is still to be torn."""
        return self._next is not None

    def _taken(self, frame: bytes) -> Tear | None:
        """What to do with this request, if it is the one to be torn."""
        (key,) = struct.unpack_from(">h", frame, 4)
        with self._lock:
            what = self._next
            if what is None or key != KINDS[what.kind]:
                return None
            self._next = None
            self.torn_kinds[what.kind] += 1
            return what

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
                broker = socket.create_connection((HOST, self._behind))
            except OSError:
                return
            for each in (client, broker):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._open.add(each)
            threading.Thread(target=self._forth, args=(client, broker), daemon=True).start()
            threading.Thread(target=self._back, args=(client, broker), daemon=True).start()

    def _forth(self, client: socket.socket, broker: socket.socket) -> None:
        """Requests, one frame after another."""
        try:
            while True:
                frame = _frame(client)
                what = self._taken(frame)
                if what is None:
                    broker.sendall(frame)
                    continue
                if what.cut:
                    client.shutdown(socket.SHUT_RDWR)
                if what.seconds is not None:
                    threading.Event().wait(what.seconds)
                    broker.sendall(frame)
                if what.cut:
                    # The broker's side stays open until it has answered what nobody hears.
                    threading.Event().wait(1.0)
                    break
        except OSError:
            pass
        self._close(client, broker)

    def _back(self, client: socket.socket, broker: socket.socket) -> None:
        """Answers, as they come. What a client that is cut off no longer takes is read all the
        same."""
        gone = False
        try:
            while data := broker.recv(1 << 16):
                if not gone:
                    try:
                        client.sendall(data)
                    except OSError:
                        gone = True
        except OSError:
            pass
        self._close(client, broker)

    def _close(self, *sockets: socket.socket) -> None:
        with self._lock:
            self._open.difference_update(sockets)
        for each in sockets:
            with contextlib.suppress(OSError):  # gone already
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def _frame(client: socket.socket) -> bytes:
    size = _exactly(client, 4)
    return size + _exactly(client, *struct.unpack(">i", size))


def _exactly(client: socket.socket, count: int) -> bytes:
    found = bytearray()
    while len(found) < count:
        data = client.recv(count - len(found))
        if not data:
            raise OSError("the client closed its connection")
        found += data
    return bytes(found)
