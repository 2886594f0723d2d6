"""The socket that the console listens on."""

import socket

import pytest

from processors.runtime.settings import SettingsError
from web.serving import listen


def test_an_answer_does_not_wait_for_what_the_browser_acknowledges() -> None:
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_a_port_that_is_taken_is_named_with_what_to_do() -> None:
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(SettingsError, match=f"127.0.0.1:{port}.*HANDOFF_CONSOLE_PORT"):
            listen("127.0.0.1", port)
