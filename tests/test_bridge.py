"""The bridge from webhooks to Kafka of examples/pagerduty: the configuration of an existing tool.

Where Bento is installed, or the engine that it shares with Benthos is built (`tests/bridge/build`),
it runs, with a file in the place of Kafka.
"""

import shutil
from pathlib import Path

import pytest

from schemas.loading import load
from tests.bridges import FOLDER, KEYS, SECRET, WEBHOOKS, configuration, running, signed
from tests.conftest import cannot_run

BUILT = Path(__file__).resolve().parents[1] / "build" / "bridge" / "benthos"


def test_the_bridge_writes_what_the_source_reads() -> None:
    bridge = configuration()
    (source,) = load([FOLDER / "source.yaml"]).intake_sources
    assert (bridge["output"]["kafka_franz"]["topic"],) == source.topic
    assert bridge["input"]["http_server"]["address"].startswith("127.0.0.1:")
    checked, refused = bridge["pipeline"]["processors"]
    assert 'hash("hmac_sha256", $secret)' in checked["mapping"]
    assert refused["catch"][-1] == {"mapping": "root = deleted()"}, "what fails goes no further"


@pytest.mark.parametrize("secret", [SECRET, ""])
def test_what_is_not_signed_goes_no_further(tmp_path: Path, secret: str) -> None:
    program = shutil.which("bento") or shutil.which("benthos") or shutil.which(BUILT)
    if program is None:
        cannot_run("bento", "neither bento nor benthos is here; tests/bridge/build makes one")
    assert program is not None
    bridge, told = configuration(), tmp_path / "topic.jsonl"
    key = bridge["output"]["kafka_franz"]["key"]
    bridge["output"] = {
        "file": {"path": str(told), "codec": "lines"},
        "processors": [{"mapping": f'root = {key[3:-1]} + " " + content().string()'}],
    }
    refused = 403 if secret else 503
    with running(program, bridge, tmp_path, PAGERDUTY_WEBHOOK_SECRET=secret) as post:
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
    if not secret:
        assert not told.exists()
        return
    expected = [key + b" " + body for key, body in zip(KEYS, WEBHOOKS, strict=True)]
    assert told.read_bytes().splitlines() == expected
