"""The commands against a broker; what the processor would publish is put there by hand."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, Producer, TopicPartition

from console.errors import UnreachableError
from console.kafka import Writer, connect, read_table, write_all
from console.main import main
from processors.integrity.processor import INTEGRITY
from processors.runtime.changelog_marks import ChangelogBounds, ChangelogMark
from processors.runtime.cluster import check_topics
from processors.runtime.global_tables import GlobalTables
from processors.runtime.settings import load_settings
from processors.runtime.transactions import Misconfigured
from schemas import serde
from schemas.flow import Record
from schemas.links import LinkMessage
from tests.commands import HandoffCommand, on_topic
from tests.core import DAY_ONE
from topics.admin import Admin

DEMO = Path(__file__).parents[1] / "console" / "demo"


def judged(handoff: HandoffCommand, story: str = "sales") -> list[dict[str, object]]:
    """Put on the topics what the processor would publish, without the queues."""
    result = handoff("dry-run", "--contracts", str(DEMO), str(DEMO / f"{story}.jsonl"))
    found = [json.loads(line) for line in result.stdout.splitlines()]
    cluster = connect()
    for topic_name in {each["topic"] for each in found if ".queue." not in each["topic"]}:
        these = [each for each in found if each["topic"] == topic_name]
        write_all(
            cluster,
            topic_name,
            ((each["key"], json.dumps(each["value"]).encode()) for each in these),
        )
    return found


def test_topics_are_made_once(handoff: HandoffCommand) -> None:
    again = handoff("topics", "apply")
    assert (again.exit_code, again.stdout) == (0, "nothing to change\n")
    assert handoff("topics", "plan").stdout == "nothing to change\n"
    assert json.loads(handoff("topics", "plan", "--output", "json").stdout) == []


@pytest.mark.parametrize("what", ["contracts", "receivers", "sources"])
def test_a_list_of_nothing_says_what_to_do(handoff: HandoffCommand, what: str) -> None:
    result = handoff(what, "list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == (
        f"no {what[:-1]} is registered; register some: handoff {what} apply PATH\n"
    )
    assert json.loads(handoff(what, "list", "--output", "json").stdout) == []


SOURCE = """kind: Source
id: desk
owner: {name: Ana Silva, contact: ana@example.com}
topic: desk.events
decode: json
defaults: {task: value.id, workflow: {value: w}, tool: {value: desk}, occurred_at: value.at}
emit: [{stage: {value: answer}}]
"""


def test_who_registers_a_source_with_another_command_is_told_the_right_one(
    handoff: HandoffCommand, tmp_path: Path
) -> None:
    path = tmp_path / "desk.yaml"
    path.write_text(SOURCE)
    for kind in ("contract", "receiver"):
        result = handoff(f"{kind}s", "apply", str(path))
        assert result.stdout == (
            f"no {kind} is there\nleft 1 source; register with: handoff sources apply {path}\n"
        )


def test_doctor_asks_for_no_intake_where_no_topic_of_a_source_is_there(
    handoff: HandoffCommand, tmp_path: Path
) -> None:
    path = tmp_path / "desk.yaml"
    path.write_text(SOURCE)
    assert handoff("sources", "apply", str(path)).exit_code == 0
    found = json.loads(handoff("doctor", "--output", "json").stdout)
    (problem,) = [c for c in found if (c["check"], c["state"]) == ("sources", "problem")]
    assert problem["what"] == "desk: the topic desk.events does not exist"


def test_what_a_plan_refuses_is_counted_apart(handoff: HandoffCommand) -> None:
    handoff.environment["HANDOFF_PARTITIONS"] = "9"
    planned = handoff("topics", "plan")
    lines = planned.stdout.splitlines()
    assert planned.exit_code == 4
    assert lines[-1] == "5 changes, and 7 that cannot be done"
    assert sum("Set HANDOFF_PARTITIONS=6" in line for line in lines) == 7


def test_documents_are_registered_once_and_never_change(
    handoff: HandoffCommand, tmp_path: Path
) -> None:
    path = tmp_path / "sales.yaml"
    path.write_text((DEMO / "sales.yaml").read_text())
    first = handoff("contracts", "apply", str(path))
    assert first.exit_code == 0, first.output
    assert "registered  lead-to-nurture@1 (active)" in first.stdout
    assert f"left 1 receiver; register with: handoff receivers apply {path}" in first.stdout
    second = handoff("receivers", "apply", str(path))
    assert "registered  marketing-nurture (active)" in second.stdout
    assert "handoff.queue.marketing-nurture; make it with: handoff topics apply" in second.stdout
    assert handoff("topics", "apply").exit_code == 0
    assert "unchanged   marketing-nurture" in handoff("receivers", "apply", str(path)).stdout
    assert "unchanged   lead-to-nurture@1" in handoff("contracts", "apply", str(path)).stdout

    path.write_text(path.read_text().replace("weight: 3", "weight: 5"))
    refused = handoff("contracts", "apply", str(path))
    assert refused.exit_code == 4
    assert "lead-to-nurture@1 is registered with another body: raise the version to 2" in (
        refused.stderr
    )
    path.write_text(path.read_text().replace("weight: 5", "weight: 3\n    ", 1))
    path.write_text(path.read_text().replace("version: 1", "version: 1\nstatus: deprecated", 1))
    changed = handoff("contracts", "apply", str(path))
    assert "changed     lead-to-nurture@1 from active to deprecated" in changed.stdout

    assert "lead-to-nurture@1" in handoff("contracts", "list").stdout
    (listed,) = json.loads(handoff("contracts", "list", "--output", "json").stdout)
    assert listed["status"] == "deprecated"
    shown = handoff("contracts", "show", "lead-to-nurture")
    assert "id: lead-to-nurture" in shown.stdout
    again = tmp_path / "again.yaml"
    again.write_text(shown.stdout)
    assert "unchanged" in handoff("contracts", "apply", str(again)).stdout, "what it prints is it"
    assert "Dana Reyes" in handoff("receivers", "list").stdout
    assert "warning:" not in second.stderr
    receiver = path.read_text().partition("kind: Receiver")[2]
    path.write_text(f"kind: Receiver{receiver.rstrip()}\nstatus: retired\n")
    retired = handoff("receivers", "apply", str(path))
    assert retired.exit_code == 0, retired.output
    told = "warning: marketing-nurture, the receiver of lead-to-nurture@1, is retired"
    assert told in retired.stderr
    unknown = handoff("contracts", "show", "lead")
    assert unknown.exit_code == 2
    assert "registered: lead-to-nurture@1" in unknown.stderr


def test_nothing_is_registered_when_one_document_is_wrong(
    handoff: HandoffCommand, tmp_path: Path
) -> None:
    path = tmp_path / "two.yaml"
    good = (DEMO / "operations.yaml").read_text()
    path.write_text(good.replace("accept_within: PT12H", "accept_within: PT4H"))
    late = handoff("contracts", "apply", str(path))
    assert late.exit_code == 2
    assert "PT4H is shorter than PT12H" in late.stderr
    draft = good.replace("version: 1", "version: 1\nstatus: draft").split("---")[0]
    path.write_text(
        draft.replace("{name: Noor Haddad, contact: noor@nordlicht.example}", "UNKNOWN")
    )
    unowned = handoff("contracts", "apply", str(path))
    assert unowned.exit_code == 4
    assert "issue-to-support@1 has the owner UNKNOWN" in unowned.stderr
    assert read_table(connect(), "handoff.contracts") == {}


@pytest.mark.parametrize("command", ["receivers", "contracts"])
def test_a_queue_that_is_a_topic_of_ours_is_refused(
    handoff: HandoffCommand, prefix: str, tmp_path: Path, command: str
) -> None:
    path = tmp_path / "loop.yaml"
    for queue, why in (
        (f"{prefix}tool-outputs", "would read its own packages"),
        ("handoff.tool-outputs", "no name for a queue"),
    ):
        demo = (DEMO / "sales.yaml").read_text()
        path.write_text(demo.replace("handoff.queue.marketing-nurture", queue))
        refused = handoff(command, "apply", str(path))
        assert refused.exit_code == 2
        assert queue in refused.stderr
        assert why in refused.stderr
        assert read_table(connect(), "handoff.receivers") == {}
        assert read_table(connect(), "handoff.contracts") == {}


def test_a_processor_takes_no_topic_of_ours_for_a_queue(
    handoff: HandoffCommand, prefix: str
) -> None:
    """Whoever wrote the document past `receivers apply`."""
    queues = {"a": f"{prefix}tool-outputs", "b": "handoff.tool-outputs", "c": "handoff.queue.c"}
    write_all(
        connect(),
        "handoff.receivers",
        (
            (name, json.dumps({"kind": "Receiver", "id": name, "team": "t", "queue": q}).encode())
            for name, q in queues.items()
        ),
    )
    tables = GlobalTables(load_settings(), INTEGRITY)
    tables.start(lambda: False)
    try:
        found = tables.current
    finally:
        tables.stop()
    assert set(found.receivers) == {"a", "c"}, "b is read by nobody"
    assert found.receivers["a"].queue not in found.queues, "handoffs to it are held: no_queue"
    assert not any(name.startswith(prefix) for name in found.queues)


def test_lines_are_sent_to_the_partition_of_their_key(
    handoff: HandoffCommand, tmp_path: Path
) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    old = '{"id":"1","task_id":"t1","workflow":"w","stage":"s","tool":"x",'
    old += '"occurred_at":946684800000}\n'
    ack = (
        '{"topic":"handoff.acks","value":{"id":"1","workflow":"w","task_id":"t1","handoff_id":"h",'
        f'"status":"accepted","by":"me","occurred_at":"{now}"}}}}\n'
    )
    path = tmp_path / "lines.jsonl"
    path.write_text(old + ack + old.replace("t1", "t2").replace(":946684800000}", f':"{now}"}}'))
    result = handoff("send", str(path))
    assert (result.exit_code, result.stderr) == (0, "3 records sent\n")
    outputs, acks = on_topic("handoff.tool-outputs"), on_topic("handoff.acks")
    assert {each.key: each.headers for each in outputs} == {
        b"t1": [("handoff-backfill", b"1")],
        b"t2": [],
    }
    assert old.strip().encode() in [each.value for each in outputs], "not a byte is changed"
    assert [each.key for each in acks] == [b"t1"]
    same = next(each.partition for each in outputs if each.key == b"t1")
    assert acks[0].partition == same, "the same key, the same partition on every input"


def test_a_dry_run_judges_what_is_on_the_topics(handoff: HandoffCommand) -> None:
    contracts, lines = str(DEMO), str(DEMO / "support.jsonl")
    assert handoff("send", lines).exit_code == 0
    one = handoff("dry-run", "--contracts", contracts, "--from-topic")
    other = handoff("dry-run", "--contracts", contracts, lines)
    assert one.exit_code == 0
    assert published(one.stdout) == published(other.stdout)
    assert not on_topic("handoff.packages"), "nothing is written"


def published(stdout: str) -> set[tuple[str, str]]:
    """Topic and id of each record; of what is counted the key, for which task comes first is
    nobody's business."""
    found = [each for each in map(json.loads, stdout.splitlines()) if each["value"]]
    counted = ("handoff.patterns", "handoff.edges", "handoff.figures")
    return {
        (each["topic"], each["key"] if each["topic"] in counted else each["value"]["id"])
        for each in found
    }


def test_a_bad_line_is_named_and_the_others_are_sent(handoff: HandoffCommand) -> None:
    good = '{"id":"1","task_id":"t","workflow":"w","stage":"s","tool":"x",'
    good += '"occurred_at":946684800000}\n'
    result = handoff("send", "-", lines=good + "nonsense\n\n" + '{"task_id":"t"}\n' + good)
    assert result.exit_code == 2
    assert "-, line 2: not sent: is not JSON" in result.stderr
    assert "-, line 4: sent, and becomes a dead letter: the JSON has not the shape" in result.stderr
    assert "3 records sent; 2 bad lines" in result.stderr
    assert len(on_topic("handoff.tool-outputs")) == 3
    ack = '{"topic": "handoff.acks", "value": {"task_id": "t"}}\n'
    unread = handoff("send", "-", lines=ack)
    assert "-, line 1: sent, and becomes a dead letter: the JSON has not the shape" in unread.stderr
    contradicting = (
        ("acks", {"status": "rejected"}, "an ack that rejects must give its reason"),
        ("amendments", {"action": "release"}, "an amendment that releases must give its reason"),
        ("amendments", {"action": "set"}, "an amendment that sets needs 'fields'"),
        ("amendments", {"action": "redirect"}, "an amendment that redirects needs 'to'"),
        ("acks", {"status": "accepted"}, ""),
        ("amendments", {"action": "redirect", "to": "r"}, ""),
    )
    said = {"workflow": "w", "task_id": "t", "handoff_id": "h", "by": "me", "occurred_at": 10**12}
    lines = [
        json.dumps({"topic": f"handoff.{topic}", "value": said | more | {"id": str(n)}})
        for n, (topic, more, _) in enumerate(contradicting)
    ]
    told = handoff("send", "-", lines="\n".join(lines))
    assert told.exit_code == 2
    for n, (_, _, why) in enumerate(contradicting, 1):
        named = f"-, line {n}: sent, and becomes a dead letter: {why}"
        assert (named in told.stderr) is bool(why), told.stderr
    document = '{"topic": "handoff.contracts", "value": {"id": "c"}}\n'
    refused = handoff("send", "-", lines=document)
    assert (refused.exit_code, "-, line 1: not sent: " in refused.stderr) == (2, True)


def test_a_line_with_an_unknown_member_is_sent_as_it_is(handoff: HandoffCommand) -> None:
    line = '{"id":"1","task_id":"t","workflow":"w","stage":"s","tool":"x",'
    line += '"occurred_at":946684800000,"handof":{"to":"desk"}}\n'
    result = handoff("send", "-", lines=line * 2)
    assert result.exit_code == 0
    assert result.stderr == (
        "-, line 1: the unknown member 'handof' is ignored; did you mean 'handoff'?\n"
        "2 records sent\n"
    )
    assert on_topic("handoff.tool-outputs")[0].value == line.strip().encode()


def test_a_file_of_yaml_is_told_once_with_the_commands_that_take_it(
    handoff: HandoffCommand, tmp_path: Path
) -> None:
    path = tmp_path / "notes.yaml"
    path.write_text("# who gets it\n" + (DEMO / "sales.yaml").read_text())
    result = handoff("send", str(path))
    assert result.exit_code == 2
    assert result.stderr == (
        f"0 records sent\nhandoff: {path} looks like YAML: no line of it is JSON. Contracts and "
        f"receivers are registered with handoff contracts apply {path} and handoff receivers apply "
        f"{path}\n"
    )
    piped = handoff("send", "-", lines="kind: Receiver\nid: desk\n")
    assert "handoff: - looks like YAML" in piped.stderr
    for others in ("nonsense\n", "kind: Receiver\n[1]\n", 'kind: Receiver\n{"task_id": "t"}\n'):
        named = handoff("send", "-", lines=others)
        assert named.stderr.startswith("-, line 1: not sent: is not JSON: ")
        assert f"{others.count(chr(10))} bad line" in named.stderr


def test_a_missing_file_is_noticed_before_the_broker_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDOFF_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    result = CliRunner().invoke(main, ["send", str(tmp_path / "none.jsonl")])
    assert result.exit_code == 2
    assert "none.jsonl: there is no such file" in result.stderr


def test_tail_shows_what_is_there_and_ends(handoff: HandoffCommand) -> None:
    found = judged(handoff)
    handoff("contracts", "apply", str(DEMO / "sales.yaml"))
    text = handoff("tail", "packages", "--from-beginning", "--limit", "3").stdout
    assert text.count("Dana Reyes") == 3
    assert "Mara" not in text
    lines = handoff("tail", "violations", "--from-beginning", "--timeout", "1", "--output", "json")
    kinds = [json.loads(line)["value"]["id"] for line in lines.stdout.splitlines()]
    assert sorted(kinds) == sorted(
        str(each["value"]["id"])  # type: ignore[index]
        for each in found
        if each["topic"] == "handoff.violations"
    )
    assert handoff("tail", "signals", "--timeout", "0.5").stdout == "", "from now on"


@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGTERM, None])
def test_a_quiet_tail_ends_cleanly(handoff: HandoffCommand, ends: signal.Signals | None) -> None:
    write_all(connect(), "handoff.signals", [("t", b"{}")])
    process = subprocess.Popen(
        [sys.executable, "-m", "console", *["tail", "signals", "--from-beginning"]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert b"cannot be read" in process.stdout.readline(), "it follows"
    if ends is not None:
        process.send_signal(ends)
    process.stdout.close()
    assert process.wait(10) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


def test_tail_survives_records_that_are_not_ours_and_tombstones(handoff: HandoffCommand) -> None:
    write_all(connect(), "handoff.held", [("h-1", b"nonsense")])
    text = handoff("tail", "held", "--from-beginning", "--timeout", "1").stdout
    assert "cannot be read" in text


def test_dead_letters_are_listed_and_shown_whole(handoff: HandoffCommand) -> None:
    letters = [
        serde.dead_letter(
            Record("handoff.tool-outputs", 3, 17, b"t", value, 0, [("mine", b"1")]),
            ValueError("a secret value"),
        )
        for value in (b"caf\xc3\xa9 \x1b[31m", b"\xff\x00")
    ]
    writer = Writer(connect())
    for letter in letters:
        assert letter.value is not None
        writer.write(letter.topic, b"t", letter.value, letter.headers, "")
    writer.flush()
    listed = handoff("dead-letters", "list")
    assert listed.stdout.count("ValueError") == 2
    rows = handoff("dead-letters", "list", "--output", "json").stdout.splitlines()
    first, second = (json.loads(row)["id"] for row in rows)
    shown = handoff("dead-letters", "show", first).stdout
    assert "mine: 1" in shown
    assert "__streams.errors.offset: 17" in shown
    assert all(line == line.rstrip() for line in shown.splitlines())
    assert "café" in shown
    assert "\x1b" not in shown
    assert "a secret value" not in shown
    assert "ff 00" in handoff("dead-letters", "show", second).stdout
    assert handoff("dead-letters", "show", "0" + first).stdout == shown
    for bad, why in (
        ("x", "PARTITION/OFFSET"),
        ("0/999", "no dead letter 0/999"),
        (f"0/{'9' * 5_000}", "no dead letter 0/999"),
    ):
        missing = handoff("dead-letters", "show", bad)
        assert missing.exit_code == 2
        assert why in missing.stderr


def test_doctor_finds_what_is_missing_and_says_what_to_do(handoff: HandoffCommand) -> None:
    result = handoff("doctor", "--output", "json")
    found = {each["check"]: each for each in json.loads(result.stdout)}
    assert result.exit_code == 1
    assert found["broker"]["state"] == "ok"
    assert "librdkafka" in found["versions"]["what"]
    assert found["topics"]["state"] == "ok"
    assert found["partitions"]["state"] == "ok"
    assert found["contracts"]["state"] == "note"
    assert found["processor"]["state"] == "problem"
    assert found["processor"]["todo"] == "handoff run"
    write_all(connect(), "handoff.contracts", [("x@1", b"{}")])
    broken = handoff("doctor")
    assert "x@1 cannot be used" in broken.stdout


def test_doctor_lists_links_that_wait_for_a_task_that_never_came(
    handoff: HandoffCommand, embedded: str, prefix: str
) -> None:
    def links() -> list[str]:
        told = json.loads(handoff("doctor", "--output", "json").stdout)
        return [each["what"] for each in told if each["check"] == "links"]

    assert links() == []
    producer = Producer({"bootstrap.servers": embedded})
    for n in range(7):
        told = LinkMessage("linked", "ticket", f"ZD-{n}", "issue", f"ENG-{n}", DAY_ONE)
        value = msgspec.json.encode(told)
        at = round(time.time() * 1000) - 600_000 + n * 60_000
        producer.produce(f"{prefix}internal.links", value, told.task_id.encode(), timestamp=at)
    assert producer.flush(10) == 0
    (what,) = links()
    assert what.startswith(
        "7 links to a task that has not come: ENG-0 (issue) continues ZD-0 (ticket), since "
    )
    assert "ENG-4 (issue)" in what
    assert "ENG-5" not in what
    assert what.endswith("; and 2 more")


def judged_up_to(prefix: str, servers: str, reached: int) -> None:
    """The group's offsets, as a processor would have committed them with this changelog."""
    app = prefix.rstrip(".")
    committing = Consumer({"bootstrap.servers": servers, "group.id": f"{app}-integrity"})
    at = TopicPartition(
        f"{prefix}tool-outputs",
        2,
        0,
        ChangelogMark(ChangelogBounds("", 0, reached), 6, INTEGRITY.format).text(),
    )
    try:
        committing.commit(offsets=[at], asynchronous=False)
    finally:
        committing.close()


def test_doctor_finds_a_changelog_that_lost_something(
    handoff: HandoffCommand, embedded: str, prefix: str
) -> None:
    def found() -> dict[str, tuple[str, str]]:
        told = json.loads(handoff("doctor", "--output", "json").stdout)
        kept = [each for each in told if "insights" not in each["what"]]
        return {each["check"]: (each["what"], each["todo"]) for each in kept}

    judged_up_to(prefix, embedded, 0)
    assert "state" not in found()
    judged_up_to(prefix, embedded, 9)
    told = found()
    assert told["processor"][1] == "handoff run --rebuild"
    group, changelog = f"{prefix.rstrip('.')}-integrity", f"{prefix}integrity-state"
    assert told["state"] == (
        f"{changelog} holds less than the offsets of {group} say "
        "(partition 2: the changelog ends at 0 and had reached 9)",
        "to read the inputs anew: handoff run --rebuild",
    )


def test_a_missing_changelog_that_held_state_is_no_topic_like_another(
    handoff: HandoffCommand, embedded: str, prefix: str
) -> None:
    group, changelog = f"{prefix.rstrip('.')}-integrity", f"{prefix}integrity-state"
    sentence = f"{changelog} held the state of what {group} has judged, and that is gone"
    with Admin({"bootstrap.servers": embedded}) as admin:
        admin.delete_topics([changelog])[changelog].result(20)
    assert sentence not in handoff("topics", "plan").stderr
    judged_up_to(prefix, embedded, 9)
    assert sentence in handoff("doctor", "--output", "json").stdout
    cluster = connect()
    with pytest.raises(Misconfigured) as error:
        check_topics(cluster.admin, cluster.settings, INTEGRITY)
    assert f"create what is missing with: handoff topics apply. {sentence}" in str(error.value)
    assert str(error.value).endswith("handoff run --rebuild")
    planned = handoff("topics", "plan", "--output", "json")
    assert (sentence in planned.stderr, len(json.loads(planned.stdout))) == (True, 1)
    applied = handoff("topics", "apply")
    assert (applied.exit_code, sentence in applied.stderr) == (0, True)
    assert sentence not in handoff("topics", "apply").stderr


def test_a_cluster_without_topics_is_told_apart_from_no_cluster(embedded: str, prefix: str) -> None:
    bare = HandoffCommand(embedded, prefix)
    for arguments in (["send", "-"], ["contracts", "list"], ["tail", "signals"]):
        result = bare(*arguments)
        assert result.exit_code == 4
        assert "does not exist" in result.stderr
        assert "handoff topics apply" in result.stderr
    doctor = bare("doctor")
    assert doctor.exit_code == 1
    assert f"create {prefix}tool-outputs" in doctor.stdout


def test_no_broker_is_one_sentence_and_exit_status_3(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # At once, because each of them waits some seconds for a broker that may be starting.
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "console", *arguments],
            env={**os.environ, "HANDOFF_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}"},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for arguments in (
            ["send", "-"],
            ["tail", "packages"],
            ["doctor"],
            ["topics", "plan"],
            ["contracts", "list"],
        )
    ]
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 3
        assert out == ""
        assert err.count("\n") == 1
        assert f"no Kafka broker answers at 127.0.0.1:{port}" in err
        assert "handoff up" in err


def test_the_wait_for_a_broker_leaves_room_below_ten_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HANDOFF_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    began = time.monotonic()
    with pytest.raises(UnreachableError):
        connect()
    assert time.monotonic() - began < 7


def test_an_unknown_command_names_the_nearest() -> None:
    result = CliRunner().invoke(main, ["contract"])
    assert result.exit_code == 2
    assert "Did you mean 'contracts'?" in result.stderr
    result = CliRunner().invoke(main, ["topics", "aply"])
    assert "Did you mean 'apply'?" in result.stderr


def test_bad_settings_are_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "handoff.toml").write_text("partitons = 3\n")
    result = CliRunner().invoke(main, ["topics", "plan"])
    assert result.exit_code == 2
    assert "did you mean partitions?" in result.stderr
