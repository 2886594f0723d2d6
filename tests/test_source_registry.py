"""`handoff sources` on the embedded broker: register, list, read again, remove."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from processors.intake.processor import intake
from processors.runtime import relay_lane
from processors.runtime.batch import Batch
from processors.runtime.lane_supervisor import LaneSupervisor
from processors.runtime.settings import Settings
from tests.commands import HandoffCommand, on_topic
from tests.lanes import wait_for
from topics.admin import Admin

SOURCE = """\
kind: Source
id: tracker
owner: {name: Ana Silva, contact: ana@example.com}
topic: TOPIC
decode: json
let: {tool: value.tool}
defaults: {task: value.id, workflow: {value: bug}, tool: tool, occurred_at: value.at, id: value.n}
emit:
  - stage: {value: triage}
    context: {summary: value.summary}
"""


@pytest.fixture
def topic(handoff: HandoffCommand, embedded: str, prefix: str) -> str:
    """A foreign topic with three records."""
    name = f"{prefix}tracker.events"
    admin = Admin({"bootstrap.servers": embedded})
    for future in admin.create_topics([NewTopic(name, 2, 1)]).values():
        future.result(20)
    producer = Producer({"bootstrap.servers": embedded})
    for number in range(3):
        event = {
            "id": f"B-{number}",
            "at": "2026-03-02T09:00:00Z",
            "n": number,
            "tool": "tracker",
            "summary": "It fails.",
        }
        producer.produce(name, json.dumps(event).encode(), b"k", number % 2)
    assert producer.flush(10) == 0
    return name


def written(tmp_path: Path, topic: str, **replaced: str) -> str:
    path = tmp_path / "source.yaml"
    text = SOURCE.replace("TOPIC", topic)
    for old, new in replaced.items():
        text = text.replace(old, new)
    path.write_text(text)
    return str(path)


@contextmanager
def running(handoff: HandoffCommand, monkeypatch: pytest.MonkeyPatch) -> Iterator[LaneSupervisor]:
    """Intake in this process."""
    monkeypatch.setattr(relay_lane, "LOOK_SECONDS", 0.3)
    settings = Settings()
    given_up: list[str] = []
    processor = intake(settings.max_record_bytes, settings.backfill_after_ms)
    supervisor = LaneSupervisor(settings, processor, Batch.run, given_up.append)
    supervisor.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()
        assert supervisor.join(30)
    assert not given_up


def test_apply_says_what_became_of_each_and_that_a_topic_is_not_there(
    handoff: HandoffCommand, topic: str, tmp_path: Path
) -> None:
    done = handoff("sources", "apply", written(tmp_path, topic))
    assert (done.exit_code, done.output) == (0, "registered  tracker (active)\n")
    done = handoff("sources", "apply", written(tmp_path, topic))
    assert done.output == "unchanged   tracker (active)\n"
    done = handoff("sources", "apply", written(tmp_path, "nowhere.events"))
    assert done.exit_code == 0
    assert done.stdout == "changed     tracker (active)\n"
    assert done.stderr == "not there yet: nowhere.events; read as soon as it is\n"


def test_a_topic_of_ours_is_refused(handoff: HandoffCommand, prefix: str, tmp_path: Path) -> None:
    done = handoff("sources", "apply", written(tmp_path, f"{prefix}packages"))
    assert done.exit_code == 2
    assert "is a topic of the processor itself" in done.output
    assert not on_topic("handoff.sources")


def test_list_shows_how_far_each_is_read(
    handoff: HandoffCommand, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handoff("sources", "apply", written(tmp_path, topic))
    (before,) = json.loads(handoff("sources", "list", "--output", "json").output)
    assert (before["lag"], before["read_to"]) == (None, None)
    with running(handoff, monkeypatch) as supervisor:
        wait_for(lambda: supervisor.status.read_to, 20, "it is read")
    (after,) = json.loads(handoff("sources", "list", "--output", "json").output)
    assert after["id"] == "tracker"
    assert after["lag"] == 0
    assert after["read_to"] is not None
    assert after["last_record_at"] is not None
    assert "Ana Silva" in handoff("sources", "list").output


def test_replay_is_begun_by_a_running_intake_and_says_how_much(
    handoff: HandoffCommand, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handoff("sources", "apply", written(tmp_path, topic))
    with running(handoff, monkeypatch) as supervisor:
        wait_for(lambda: sum(supervisor.status.sources.values()) == 3, 20, "all is read")
        done = handoff("sources", "replay", "tracker", "--from", "2026-01-01T00:00:00Z")
        assert done.exit_code == 0, done.output
        asked, begun = done.output.splitlines()
        assert asked == "asked       tracker from 2026-01-01T00:00:00Z on"
        assert begun.startswith("begun ")
        wait_for(lambda: sum(supervisor.status.sources.values()) == 6, 20, "all is read again")
    assert sum(supervisor.status.sources.values()) == 6
    assert supervisor.status.sources == {("tracker", "mapped", ""): 6}
    came = on_topic("handoff.tool-outputs")
    assert sorted(Counter(record.value for record in came).values()) == [2, 2, 2], "the same again"
    marked = [record.value for record in came if ("handoff-backfill", b"1") in record.headers]
    assert len(marked) == len(set(marked)) == 3


@pytest.mark.parametrize(
    ("time_", "told"),
    [
        ("yesterday", "is no time"),
        ("2026-01-01T00:00:00", "has no offset; add Z"),
        ("0001-01-01T00:00:00+14:00", "outside of the years 1 to 9999"),
    ],
)
def test_replay_wants_a_time_with_an_offset(handoff: HandoffCommand, time_: str, told: str) -> None:
    done = handoff("sources", "replay", "tracker", "--from", time_)
    assert done.exit_code == 2
    assert told in done.output


def test_replay_says_that_no_topic_is_there(handoff: HandoffCommand, tmp_path: Path) -> None:
    handoff("sources", "apply", written(tmp_path, "nowhere-to-be-found"))
    done = handoff("sources", "replay", "tracker", "--from", "2026-01-01T00:00:00Z")
    assert done.exit_code == 4
    assert "no topic of that name exists (nowhere-to-be-found)" in done.output.replace("\n", " ")


def test_remove_takes_the_source_and_what_was_asked_of_it(
    handoff: HandoffCommand, topic: str, tmp_path: Path
) -> None:
    handoff("sources", "apply", written(tmp_path, topic))
    assert handoff("sources", "remove", "tracker").output == "removed     tracker\n"
    assert json.loads(handoff("sources", "list", "--output", "json").output) == []
    done = handoff("sources", "remove", "tracker")
    assert done.exit_code == 2
    assert "no source tracker is registered; registered: none" in done.output


def test_doctor_says_that_nobody_reads_and_which_topic_is_missing(
    handoff: HandoffCommand, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told() -> list[tuple[str, str]]:
        found = json.loads(handoff("doctor", "--output", "json").output)
        return [(each["state"], each["what"]) for each in found if each["check"] == "sources"]

    assert told() == []
    handoff("sources", "apply", written(tmp_path, f"[{topic}, nowhere.events]"))
    (registered, missing, nobody) = told()
    assert registered == ("ok", "1 registered")
    assert missing == ("problem", "tracker: the topic nowhere.events does not exist")
    assert nobody[0] == "problem"
    assert "no source is read, and deadlines wait" in nobody[1]
    with running(handoff, monkeypatch) as supervisor:
        wait_for(lambda: supervisor.status.read_to, 20, "it is read")
        assert told()[-1][0] == "ok"
