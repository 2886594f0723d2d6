"""The console as a server: one thread builds its read model, another serves its pages."""

import errno
import gc
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import uvicorn
from starlette.types import ASGIApp

from console.folder import temporary
from processors.runtime.settings import Settings, SettingsError
from web.app import build
from web.context import Console
from web.gate import KafkaGate
from web.model.builder import Builder
from web.model.reader import Model

_END_SECONDS = 2  # for answers that are still on their way; who watches is let go then
_QUEUE = 128  # connections that wait to be taken


def listen(host: str, port: int) -> socket.socket:
    """Listen on an address; port 0 is a free one. Raises `SettingsError` where that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        made = socket.create_server((host.strip("[]"), port), family=family, backlog=_QUEUE)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "something else listens there" if taken else error.strerror or "it is refused"
        raise SettingsError(
            f"the console cannot listen on {host}:{port}: {why}; choose another port with "
            "HANDOFF_CONSOLE_PORT (0: a free one)"
        ) from None
    # Connections take it over. Without it the body of an answer waits until the browser has
    # acknowledged the head: 40 ms. asyncio sets it only where the protocol number is not 0.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def address(settings: Settings, listening: socket.socket) -> str:
    """Where people reach it."""
    if settings.console_url:
        return settings.console_url
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def serving(settings: Settings, listening: socket.socket) -> Iterator[Builder]:
    """Serve the console on a socket while the block runs. Raises `SettingsError` where the settings
    would open it to anybody, before anything is served."""
    with ExitStack() as stack:
        stack.enter_context(listening)
        path = settings.console_state_file
        if path is None:
            path = stack.enter_context(temporary("handoff-console")) / "console.sqlite"
        console = Console(settings, Model(path), KafkaGate(settings))
        app = build(settings, console)
        builder = Builder(settings, path, console.changes.note, console.model)
        builder.start()
        stack.callback(builder.stop)
        stack.enter_context(served(app, listening, console))
        yield builder


@contextmanager
def served(app: ASGIApp, listening: socket.socket, console: Console) -> Iterator[None]:
    """Answer on a socket with the console's application while the block runs."""
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",  # what it says besides is of a server, and not of handoffs
        access_log=False,
        proxy_headers=False,  # which address a request came from decides who it may be
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=_END_SECONDS,
    )
    # Every few seconds Python's garbage collector looks through all objects, and all threads wait
    # for it: 0.2 s. What a page leaves behind is found among the young ones.
    gc.collect()
    gc.freeze()
    gc.set_threshold(700, 10, 1000)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), name="console")
    thread.start()
    try:
        yield
    finally:
        console.changes.end()  # who watches would keep the server from its end
        server.should_exit = True
        thread.join()
