"""The bridge from webhooks to Kafka of examples/pagerduty: the configuration of an existing tool.

Where Bento is installed, or the engine that it shares with Benthos is built (`tests/bridge/build`),
it runs, with a file in the place of Kafka.
"""

import hashlib
import hmac
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from console.brokers import free_port
from schemas.loading import load
from tests.conftest import cannot_run
from tests.intake import EXAMPLES
from tests.lanes import wait_for

SECRET = "a secret of the test"
FOLDER = EXAMPLES / "pagerduty"
BUILT = Path(__file__).resolve().parents[1] / "build" / "bridge" / "benthos"
WEBHOOKS = (FOLDER / "webhooks.jsonl").read_bytes().splitlines()


def configuration() -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(FOLDER / "bento.conf")
    return found


def test_the_bridge_writes_what_the_source_reads() -> None:
    bridge = configuration()
    (source,) = load([FOLDER / "source.yaml"]).intake_sources
    assert (bridge["output"]["kafka_franz"]["topic"],) == source.topic
    assert bridge["input"]["http_server"]["address"].startswith("127.0.0.1:")
    checked, refused = bridge["pipeline"]["processors"]
    assert 'hash("hmac_sha256", $secret)' in checked["mapping"]
    assert refused["catch"][-1] == {"mapping": "root = deleted()"}, "what fails goes no further"


def signed(body: bytes, secret: str = SECRET) -> str:
    return "v1=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("secret", [SECRET, ""])
def test_what_is_not_signed_goes_no_further(tmp_path: Path, secret: str) -> None:
    program = shutil.which("bento") or shutil.which("benthos") or shutil.which(BUILT)
    if program is None:
        cannot_run("bento", "neither bento nor benthos is here; tests/bridge/build makes one")
    bridge, port, told = configuration(), free_port(), tmp_path / "topic.jsonl"
    bridge["input"]["http_server"]["address"] = f"127.0.0.1:{port}"
    key = bridge["output"]["kafka_franz"]["key"]
    bridge["output"] = {
        "file": {"path": str(told), "codec": "lines"},
        "processors": [{"mapping": f'root = {key[3:-1]} + " " + content().string()'}],
    }
    path = tmp_path / "bento.conf"
    with path.open("w", encoding="utf-8") as stream:
        YAML(typ="safe").dump(bridge, stream)

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

    def answers() -> bool:
        try:
            return post(b"{}") in (403, 503)
        except urllib.error.URLError:
            return False

    assert program is not None
    environment = {**os.environ, "PAGERDUTY_WEBHOOK_SECRET": secret}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([program, "-c", str(path)], env=environment, stdout=log)
        try:
            wait_for(answers, 20, "the bridge answers")
            refused = 403 if secret else 503
            for body in WEBHOOKS:
                good = signed(body)
                assert post(body) == refused
                assert post(body, X_PagerDuty_Signature="v1=00") == refused
                assert post(body, X_PagerDuty_Signature=signed(body, "other")) == refused
                assert post(body + b" ", X_PagerDuty_Signature=good) == refused
                # Headers and parameters are metadata there: none of them counts as an answer.
                assert post(body, answer="200", error="", wanted=good) == refused
                both = f"{signed(body, 'the old one')}, {good}"
                assert post(body, X_PagerDuty_Signature=both) == (200 if secret else 503)
        finally:
            process.terminate()
            process.wait(20)
    if not secret:
        assert not told.exists()
        return
    keys = ["PSVC3" if b"service.updated" in body else "Q2F9A1" for body in WEBHOOKS]
    expected = [f"{key} ".encode() + body for key, body in zip(keys, WEBHOOKS, strict=True)]
    assert told.read_bytes().splitlines() == expected
