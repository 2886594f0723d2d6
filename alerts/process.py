"""`handoff alerts run`: the service, its web pages, and its end."""

import http.server
import json
import logging
import os
import threading

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from alerts.service import AlertService
from alerts.status import AlertStatus
from processors.runtime.ending import Ending
from processors.runtime.settings import Settings
from processors.runtime.transactions import Misconfigured

log = logging.getLogger("handoff.alerts")

_STOP_SECONDS = 12.0


class _Pages(http.server.ThreadingHTTPServer):
    """/healthz, /readyz and /metrics of one service."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], status: AlertStatus) -> None:
        super().__init__(address, _Page)
        self.status = status
        self.registry = CollectorRegistry()
        self.registry.register(status)
        ProcessCollector(registry=self.registry)


class _Page(http.server.BaseHTTPRequestHandler):
    server: _Pages

    def do_GET(self) -> None:
        """Answer one request."""
        status, kind = 200, "application/json"
        match self.path.partition("?")[0]:
            case "/healthz":
                body = json.dumps({"status": "alive"}).encode()
            case "/readyz":
                found = self.server.status
                told = {"ready": found.ready, "alerts": found.phase, "problem": found.problem}
                status, body = 200 if found.ready else 503, json.dumps(told).encode()
            case "/metrics":
                kind, body = "text/plain; version=0.0.4", generate_latest(self.server.registry)
            case _:
                status, body = 404, b"{}"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""


def run_until_asked(settings: Settings, service: AlertService, ending: Ending) -> int:
    """Run until `ending` is asked; the exit status. Raises `Misconfigured` where the pages cannot
    listen."""
    try:
        pages = _Pages((settings.web_host, settings.web_port), service.status)
    except OSError as error:
        raise Misconfigured(
            f"the web pages cannot listen on {settings.web_host}:{settings.web_port} "
            f"({os.strerror(error.errno or 0)}); set HANDOFF_WEB_PORT, 0 for any free port"
        ) from None
    threading.Thread(target=pages.serve_forever, name="alert-pages", daemon=True).start()
    log.info("web pages on http://%s:%d/healthz /readyz /metrics", *pages.server_address[:2])
    service.start()
    ending.wait()
    ended = service.stop(_STOP_SECONDS)
    pages.shutdown()
    pages.server_close()
    return 0 if ended else 1
