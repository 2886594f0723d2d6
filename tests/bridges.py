"""The bridge of examples/pagerduty: its configuration, run by a program, and webhooks for it."""

import hashlib
import hmac
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from console.brokers import free_port
from tests.intake import EXAMPLES
from tests.lanes import wait_for

SECRET = "a secret of the test"
FOLDER = EXAMPLES / "pagerduty"
WEBHOOKS = (FOLDER / "webhooks.jsonl").read_bytes().splitlines()
KEYS = [b"PSVC3" if b"service.updated" in body else b"Q2F9A1" for body in WEBHOOKS]

Post = Callable[..., int]  # a body, and headers with `_` for `-`


def configuration() -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(FOLDER / "bento.conf")
    return found


def signed(body: bytes, secret: str = SECRET) -> str:
    return "v1=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@contextmanager
def running(
    program: str, given: dict[str, Any], folder: Path, **environment: str
) -> Iterator[Post]:
    """The bridge as it is `given`, on a port of its own, once it answers; what posts to it gives
    the status of the answer, 0 where none comes."""
    port = free_port()
    given["input"]["http_server"]["address"] = f"127.0.0.1:{port}"
    path = folder / "bento.conf"
    with path.open("w", encoding="utf-8") as stream:
        YAML(typ="safe").dump(given, stream)

    def post(body: bytes, **headers: str) -> int:
        names = {name.replace("_", "-"): text for name, text in headers.items()}
        address = f"http://127.0.0.1:{port}/pagerduty?answer=200"
        request = urllib.request.Request(address, body, names)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except (urllib.error.URLError, TimeoutError):
            return 0

    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-c", str(path)], env={**os.environ, **environment}, stdout=log, stderr=log
        )
        try:
            wait_for(lambda: post(b"{}") in (403, 503), 20, "the bridge answers")
            yield post
        finally:
            process.terminate()
            process.wait(40)
