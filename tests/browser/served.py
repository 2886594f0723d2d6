"""The console on a story, at an address that a real browser can open; Kafka in memory."""

import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import uvicorn

from schemas.flow import Record
from tests.read_model import fill
from tests.web_client import WebSite
from web.model.statements import KINDS
from web.records import Place


class ServedSite:
    """A console at `url`. `close` ends it."""

    def __init__(self, folder: Path, records: Iterable[Record]) -> None:
        self.site = WebSite(folder, records)
        self.site.store.seen(int(time.time() * 1000))
        listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        config = uvicorn.Config(
            self.site.app, log_config=None, access_log=False, timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([listening],), name="console of a test"
        )
        self._listening = listening
        self._thread.start()

    def become(self, records: Iterable[Record]) -> None:
        """The topics hold these records: those that are new are read, and watchers are told."""
        known = self.site.topics.records
        new = [r for r in records if known.get(Place(r.topic, r.partition, r.offset)) != r]
        self.site.topics.records |= {Place(r.topic, r.partition, r.offset): r for r in new}
        fill(self.site.store, new)
        self.site.console.changes.note(KINDS)

    def close(self) -> None:
        """End it."""
        self.site.console.changes.end()
        self._server.should_exit = True
        self._thread.join(timeout=10)
        assert not self._thread.is_alive()
        self._listening.close()
        self.site.close()
