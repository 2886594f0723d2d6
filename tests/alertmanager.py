"""A real Alertmanager in a process of its own, that tests stop, start and rob of its data."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from console.brokers import dying_with_us, free_port
from tests.receiving import until

PROGRAM = "prometheus-alertmanager"
_CONFIG = """
route: {receiver: nobody}
receivers: [{name: nobody}]
"""


def missing() -> str | None:
    """Why it cannot run here."""
    return None if shutil.which(PROGRAM) else f"{PROGRAM} is not installed"


class RunningAlertmanager:
    """At a port of its own, which it keeps over restarts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._port = free_port()
        self._config = folder / "alertmanager.yml"
        self._config.write_text(_CONFIG)
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                dying_with_us(
                    [
                        PROGRAM,
                        f"--config.file={self._config}",
                        f"--storage.path={self._data}",
                        f"--web.listen-address=127.0.0.1:{self._port}",
                        "--cluster.listen-address=",
                    ]
                ),
                stdout=log,
                stderr=log,
            )
        until(self._ready, "Alertmanager is ready", limit=30)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def forget(self) -> None:
        """Delete its data; it is stopped."""
        assert self._process is None
        shutil.rmtree(self._data, ignore_errors=True)

    def firing(self) -> list[dict[str, Any]]:
        """The alerts that it shows as active."""
        with urllib.request.urlopen(self.url + "/api/v2/alerts?active=true", timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(self.url + "/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
