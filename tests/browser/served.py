"""The console on a story, at an address that a real browser can open; Kafka in memory."""

import socket
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import SecretStr
from ruamel.yaml import YAML

from schemas.flow import Record
from tests.read_model import fill
from tests.web_client import WebSite
from web.model.queries.common import Place
from web.model.statements import KINDS


class ServedSite:
    """A console at `url`. `close` ends it. With an access file its proxy is the browser."""

    def __init__(
        self, folder: Path, records: Iterable[Record], access: Mapping[str, Any] | None = None
    ) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        settings: dict[str, Any] = {}
        if access is not None:
            path = folder / "access.yaml"
            with path.open("w") as file:
                YAML().dump(access, file)
            settings = {
                "console_access": path, "console_url": self.url, "console_key": SecretStr("k" * 32),
                "console_oidc_secret": SecretStr("secret"),
            }  # fmt: skip
        self.site = WebSite(folder, records, **settings)
        self.site.store.seen(int(time.time() * 1000))
        config = uvicorn.Config(
            self.site.app,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
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
