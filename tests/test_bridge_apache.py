"""The bridge of examples/pagerduty with its own output: Bento writes to Apache Kafka.

Only where `bento` is installed: the engine that `tests/bridge/build` makes has no Kafka output.
"""

import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import NewTopic
from ruamel.yaml import YAML

from console.brokers import free_port
from console.kafka import connect, read_all
from processors.runtime.settings import Settings
from tests.conftest import cannot_run
from tests.lanes import wait_for
from tests.test_bridge import SECRET, WEBHOOKS, configuration, signed


@contextmanager
def bridge(folder: Path, servers: str, topic: str) -> Iterator[int]:
    """Bento with the example's configuration, and the port on which it listens."""
    program = shutil.which("bento")
    if program is None:
        cannot_run("bento", "bento is not here, and no other engine has its Kafka output")
    assert program is not None
    found, port = configuration(), free_port()
    found["input"]["http_server"]["address"] = f"127.0.0.1:{port}"
    found["output"]["kafka_franz"]["topic"] = topic
    path = folder / "bento.conf"
    with path.open("w", encoding="utf-8") as stream:
        YAML(typ="safe").dump(found, stream)
    own = {"PAGERDUTY_WEBHOOK_SECRET": SECRET, "KAFKA_BROKERS": servers}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-c", str(path)], env={**os.environ, **own}, stdout=log, stderr=log
        )
        try:
            wait_for(lambda: post(port, b"{}", "v1=00") == 403, 20, "the bridge answers")
            yield port
        finally:
            process.terminate()
            process.wait(40)


def post(port: int, body: bytes, signature: str) -> int:
    """The status of the answer to a webhook; 0 where none comes."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/pagerduty", body, {"X-PagerDuty-Signature": signature}
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except (urllib.error.URLError, TimeoutError):
        return 0


def test_webhooks_are_on_the_topic_once_they_are_answered(
    apache: str, prefix: str, tmp_path: Path
) -> None:
    cluster = connect(Settings(kafka_bootstrap_servers=apache, topic_prefix=prefix))
    topic = cluster.name("webhooks")
    for made in cluster.admin.create_topics([NewTopic(topic, 1, 1)]).values():
        made.result(30)
    with bridge(tmp_path, apache, topic) as port:
        for body in WEBHOOKS:
            assert post(port, body, signed(body, "other")) == 403
            assert post(port, body, signed(body)) == 200
        records = list(read_all(cluster, ["webhooks"]))
    keys = [b"PSVC3" if b"service.updated" in body else b"Q2F9A1" for body in WEBHOOKS]
    assert [(each.key, each.value) for each in records] == list(zip(keys, WEBHOOKS, strict=True))


@pytest.mark.kafka
def test_what_kafka_does_not_take_is_not_answered(prefix: str, tmp_path: Path) -> None:
    """No answer, or 5xx, lets the sender try again; 2xx and 4xx do not."""
    with bridge(tmp_path, f"127.0.0.1:{free_port()}", f"{prefix}webhooks") as port:
        (body, *_) = WEBHOOKS
        status = post(port, body, signed(body))
        assert status == 0 or status >= 500
