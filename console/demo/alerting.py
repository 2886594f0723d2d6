"""The alerts of the demo: told to a webhook of this process, one of them resolved by a person."""

import base64
import json
import secrets
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from console.commands.alerts import service_of
from console.errors import FOUND_PROBLEMS, CommandError
from console.kafka import Cluster, write_all
from processors.alerts.limits import DEFAULT_ALERT_LIMITS
from processors.runtime.ending import Ending
from schemas.alerts import ACTIONS, AlertAction
from schemas.printable import plain
from schemas.routes import AlertRoutes

_PATIENCE = 45.0
# In a demo nobody waits half a minute for what comes with a cause.
_LIMITS = replace(DEFAULT_ALERT_LIMITS, group_wait=timedelta(seconds=1))


class _Webhook(ThreadingHTTPServer):
    """Notes each message that it is sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _WebhookPage)
        self.messages: list[dict[str, Any]] = []


class _WebhookPage(BaseHTTPRequestHandler):
    server: _Webhook

    def do_POST(self) -> None:
        """Take one message."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.messages.append(json.loads(body)["data"])
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""


class DemoAlerts:
    """Runs the alerts of the demo, from `show` on, which tells of one."""

    def __init__(self, cluster: Cluster, directory: Path, ending: Ending) -> None:
        self._cluster = cluster
        self._ending = ending
        self._webhook = _Webhook()
        threading.Thread(target=self._webhook.serve_forever, daemon=True).start()
        secret = directory / "webhook-secret"
        secret.write_text("whsec_" + base64.b64encode(secrets.token_bytes(24)).decode())
        routes = AlertRoutes.model_validate(
            {
                "kind": "AlertRoutes",
                "sinks": {
                    "webhook": {
                        "webhook": {
                            "url": f"http://127.0.0.1:{self._webhook.server_port}/",
                            "secret": {"file": str(secret)},
                        }
                    }
                },
                # One cause, and so the same alert in each run: when others come, and whether with
                # it, depends on the machine.
                "routes": [{"name": "repeats", "match": {"kind": "repeat"}, "sink": "webhook"}],
            }
        )
        self._service = service_of(cluster.settings, routes, _LIMITS)

    def close(self) -> None:
        """End the alerts and the webhook."""
        if self._service.is_alive():
            self._service.stop(10)
        self._webhook.shutdown()
        self._webhook.server_close()

    def show(self, terminal: Console) -> None:
        """Show the alert of the repeated handoff, and its end, once somebody resolves it. Raises
        `CommandError` where it does not come, and `Ended`."""
        terminal.print(Rule("alerts", style="dim"))
        # Not before the stories have ended: who is to act has changed in them.
        self._service.start()
        raised = self._next("trigger", None)
        facts = {fact["label"]: fact["text"] for fact in raised["facts"]}
        told = _columns()
        told.add_row(Text("raised", "bold red"), Text(plain(raised["title"])))
        told.add_row("", Text(f"to act: {plain(facts.get('to act', 'nobody is named'))}"))
        told.add_row("", Text(f"look at it with: {plain(raised['command'])}", "dim"))
        terminal.print(told)
        said = AlertAction("demo", raised["key"], "resolve", "the owner", datetime.now(UTC))
        write_all(self._cluster, ACTIONS, [(raised["key"], msgspec.json.encode(said))])
        resolved = self._next("resolve", raised["key"])
        told = _columns()
        told.add_row(Text("resolved", "bold green"), Text(plain(resolved["title"])))
        terminal.print(told)

    def _next(self, action: str, key: str | None) -> dict[str, Any]:
        limit = time.monotonic() + _PATIENCE
        while time.monotonic() < limit:
            for message in list(self._webhook.messages):
                if message["action"] == action and key in (None, message["key"]):
                    return message
            self._ending.wait(0.05)
            self._ending.check()
        why = self._service.status.problem or "it is not known why"
        raise CommandError(f"no alert came within {_PATIENCE:.0f} s: {why}", FOUND_PROBLEMS)


def _columns() -> Table:
    """What happened, and beside it the words, which may go over several lines."""
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=8)
    table.add_column()
    return table
