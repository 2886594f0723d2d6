"""What people say to an alert: as it is read from the topic, and by way of their tool."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from alerts.active import AlertSetup
from alerts.service import AlertService
from processors.alerts.events import PersonSaid, SilencePut, of_action
from processors.alerts.limits import AlertLimits
from processors.runtime.settings import load_settings
from schemas.alerts import AlertSilence
from schemas.flow import Headers, Record, Refused
from schemas.routes import AlertRoutes
from tests.alerts_core import ONE_WEBHOOK, START, AlertPlayer, pattern
from tests.intake import EXAMPLES
from tests.lanes import wait_for
from tests.test_alerts_service import QUICK, Recorder, well
from tests.test_console_running import up
from topics.admin import Admin

SAID = {
    "id": "1",
    "key": "a-1",
    "action": "silence",
    "by": "Ana",
    "occurred_at": "2026-03-02T10:00:00Z",
}


def read(headers: Headers | None = None, **changes: Any) -> PersonSaid | None:
    value = json.dumps(SAID | changes).encode()
    return of_action(Record("handoff.alert-actions", 0, 0, b"a-1", value, 0, headers or []), 1000)


def test_an_action_and_its_end() -> None:
    said = read(until="2026-03-02T12:00:00+02:00")
    assert said is not None
    assert said.action.by == "Ana"
    assert said.until == datetime(2026, 3, 2, 10, tzinfo=UTC)
    assert read() == PersonSaid(read().action)  # type: ignore[union-attr]


def test_a_replay_says_nothing() -> None:
    assert read([("handoff-backfill", b"1")]) is None


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"by": "x" * 513}, "member_too_long", "by has 513 bytes, the limit is 512"),
        ({"until": "0001-01-01T00:00:00+23:00"}, "wrong_shape", "until lies outside of the years"),
        ({"until": 10**15}, "wrong_shape", "$.until"),
        ({"action": "delete"}, "wrong_shape", "$.action"),
        ({"key": ""}, "wrong_shape", "$.key"),
        ({"reason": "x" * 990}, "too_large", "the limit is 1,000"),
    ],
)
def test_what_is_not_understood_says_why(changes: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(Refused) as refused:
        read(**changes)
    assert refused.value.code == code
    assert words in refused.value.message


def test_a_silence_under_another_key_than_its_id_ends_as_any_other() -> None:
    player = AlertPlayer()
    silence = AlertSilence("s-1", {}, START, START + timedelta(minutes=5), "Ana", "")
    player.take(SilencePut("another", silence), START)
    player.told("contract/a/rejected", START)
    player.tick(START + timedelta(minutes=1))
    assert not player.sent
    for minute in (6, 7):
        player.tick(START + timedelta(minutes=minute))
    assert [send.notification.action for send in player.sent] == ["trigger"]


@pytest.mark.embedded
def test_what_is_said_at_pagerduty_comes_back_by_intake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(EXAMPLES / "pagerduty-alerts" / "source.yaml", tmp_path)
    (tmp_path / "none.toml").write_text("")
    monkeypatch.setenv("HANDOFF_CONFIG", str(tmp_path / "none.toml"))
    sink = Recorder("hook", well)
    with up(tmp_path, "--contracts", "source.yaml") as (_, servers):
        admin = Admin({"bootstrap.servers": servers})
        admin.create_topics([NewTopic("pagerduty.webhooks", 1, 1)])["pagerduty.webhooks"].result(20)
        setup = AlertSetup(
            settings=load_settings(kafka_bootstrap_servers=servers),
            routes=AlertRoutes.model_validate(ONE_WEBHOOK),
            make_sinks=lambda: [sink],
            limits=AlertLimits(group_wait=timedelta(seconds=0.5)),
            pacing=QUICK,
        )
        service = AlertService(setup)
        service.start()
        producer = Producer({"bootstrap.servers": servers})
        try:
            told = msgspec.json.encode(pattern("contract/a/rejected", datetime.now(UTC)))
            producer.produce("handoff.patterns", told, b"contract/a/rejected")
            producer.flush(10)
            wait_for(lambda: sink.actions() == ["trigger"], 60, "it is told")
            for kind, expected in (("acknowledged", "acknowledge"), ("resolved", "resolve")):
                event = {
                    "id": kind,
                    "event_type": f"incident.{kind}",
                    "occurred_at": datetime.now(UTC).isoformat(),
                    "agent": {"type": "user_reference", "summary": "Ines Duarte"},
                    "data": {"incident_key": sink.taken[0].key},
                }
                producer.produce("pagerduty.webhooks", json.dumps({"event": event}).encode())
                producer.flush(10)
                wait_for(partial(_last, sink, expected), 60, f"it is {kind}")
            assert ("by", "Ines Duarte") in sink.taken[-1].facts
        finally:
            assert service.stop(30)


def _last(sink: Recorder, action: str) -> bool:
    return sink.actions()[-1] == action
