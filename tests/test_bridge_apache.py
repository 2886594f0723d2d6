"""The bridge of examples/pagerduty with its own output: Bento writes to Apache Kafka.

Only where `bento` is installed: the engine that `tests/bridge/build` makes has no Kafka output.
"""

import shutil
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from confluent_kafka.admin import NewTopic

from console.brokers import free_port
from console.kafka import connect, read_all
from processors.runtime.settings import Settings
from tests.bridges import KEYS, SECRET, WEBHOOKS, Post, configuration, running, signed
from tests.conftest import cannot_run


def bridge(folder: Path, servers: str, topic: str) -> AbstractContextManager[Post]:
    """Bento with the example's configuration."""
    program = shutil.which("bento")
    if program is None:
        cannot_run("bento", "bento is not here, and no other engine has its Kafka output")
    assert program is not None
    given = configuration()
    given["output"]["kafka_franz"]["topic"] = topic
    return running(program, given, folder, PAGERDUTY_WEBHOOK_SECRET=SECRET, KAFKA_BROKERS=servers)


def test_webhooks_are_on_the_topic_once_they_are_answered(
    apache: str, prefix: str, tmp_path: Path
) -> None:
    cluster = connect(Settings(kafka_bootstrap_servers=apache, topic_prefix=prefix))
    topic = cluster.name("webhooks")
    for made in cluster.admin.create_topics([NewTopic(topic, 1, 1)]).values():
        made.result(30)
    with bridge(tmp_path, apache, topic) as post:
        for body in WEBHOOKS:
            assert post(body, X_PagerDuty_Signature=signed(body, "other")) == 403
            assert post(body, X_PagerDuty_Signature=signed(body)) == 200
        records = list(read_all(cluster, ["webhooks"]))
    assert [(each.key, each.value) for each in records] == list(zip(KEYS, WEBHOOKS, strict=True))


@pytest.mark.kafka
def test_what_kafka_does_not_take_is_not_answered(prefix: str, tmp_path: Path) -> None:
    """No answer, or 5xx, lets the sender try again; 2xx and 4xx do not."""
    with bridge(tmp_path, f"127.0.0.1:{free_port()}", f"{prefix}webhooks") as post:
        (body, *_) = WEBHOOKS
        status = post(body, X_PagerDuty_Signature=signed(body))
        assert status == 0 or status >= 500
