"""Names have a limit in bytes: what is longer is a dead letter that names the member."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from console.main import main
from schemas import serde
from schemas.flow import InputEvent, Record, Refused
from schemas.records import (
    MAX_NAME_BYTES,
    MAX_REASON_BYTES,
    Ack,
    Amendment,
    HandoffRequest,
    ToolOutput,
)
from tests.commands import HandoffCommand, on_topic

NOW = 1_795_338_900_000
OUTPUT = {
    "id": "1",
    "task_id": "t",
    "workflow": "w",
    "stage": "s",
    "tool": "x",
    "team": "a",
    "run": "u",
}
ACK = {"id": "1", "task_id": "t", "workflow": "w", "handoff_id": "h", "by": "Ana", "reason": "r"}
WHOLE: dict[str, dict[str, Any]] = {
    "handoff.tool-outputs": OUTPUT | {"occurred_at": NOW, "run": "u"},
    "handoff.acks": ACK | {"occurred_at": NOW, "status": "accepted", "receiver": "r"},
    "handoff.amendments": ACK | {"occurred_at": NOW, "action": "discard"},
}
REQUEST = {"to": "r", "contract": "c", "part": "p"}
# What people write and what they carry: bounded by the size of the record.
FREE = {
    "accepts",
    "carries",
    "note",
    "context",
    "fields",
    "revision",
    "retracted",
    "occurred_at",
    "status",
    "action",
    "handoff",
    "continues",
    "continued_by",
    "unlinked",
}
# Texts of one, two, three and four bytes a character.
LETTERS = ("x", "é", "字", "🜚")


def parsed(topic: str, body: dict[str, Any], *, ascii_: bool = False) -> InputEvent:
    value = json.dumps(body, ensure_ascii=ascii_).encode()
    record = Record(topic, 0, 0, str(body["task_id"]).encode(), value, NOW)
    return serde.parse(record, NOW, 1 << 20, 86_400_000)


def places() -> Iterator[tuple[str, str, str, int]]:
    """Every member with a limit: its topic, its path in a message, its name, and the limit."""
    for topic, members in (("handoff.tool-outputs", OUTPUT), ("handoff.acks", ACK)):
        for member in members:
            most = MAX_REASON_BYTES if member == "reason" else MAX_NAME_BYTES
            yield topic, member, member, most
            if topic == "handoff.acks":
                yield "handoff.amendments", member, member, most
    yield "handoff.acks", "receiver", "receiver", MAX_NAME_BYTES
    yield "handoff.amendments", "to", "to", MAX_NAME_BYTES
    for member in REQUEST:
        yield "handoff.tool-outputs", f"handoff.{member}", member, MAX_NAME_BYTES
        yield "handoff.tool-outputs", f"handoff[1].{member}", member, MAX_NAME_BYTES


def with_text(topic: str, path: str, member: str, text: str) -> dict[str, Any]:
    """A record with a text under a member."""
    if path == member:
        return WHOLE[topic] | {member: text}
    request = REQUEST | {member: text}
    several = path.startswith("handoff[")
    return WHOLE[topic] | {"handoff": [REQUEST | {"part": "q"}, request] if several else request}


@pytest.mark.parametrize(("topic", "path", "member", "most"), list(places()))
def test_a_byte_too_many_is_refused_with_member_length_and_limit(
    topic: str, path: str, member: str, most: int
) -> None:
    for letter in LETTERS:
        size = len(letter.encode())
        for ascii_ in (False, True):  # escaped as \\uXXXX, too: the limit is of what is said
            fits = letter * (most // size)
            parsed(topic, with_text(topic, path, member, fits), ascii_=ascii_)
            body = with_text(topic, path, member, fits + letter)
            with pytest.raises(Refused) as refused:
                parsed(topic, body, ascii_=ascii_)
            assert refused.value.code == "member_too_long"
            length = len(fits.encode()) + size
            words = f"{path} has {length:,} bytes, the limit is {most:,}; give a shorter one"
            assert refused.value.message == words
            assert letter * 9 not in refused.value.message


def test_every_text_of_an_input_has_a_limit_or_is_free() -> None:
    limited = {member for _, _, member, _ in places()}
    for record in (ToolOutput, HandoffRequest, Ack, Amendment):
        names = set(get_type_hints(record))
        assert names <= limited | FREE
        assert {name for name, _ in serde._LENGTHS[record]} == names - FREE


@given(st.dictionaries(st.sampled_from([*OUTPUT]), st.text("xé🜚", min_size=1, max_size=600)))
def test_names_together_are_judged_as_each_alone(texts: dict[str, str]) -> None:
    body = WHOLE["handoff.tool-outputs"] | texts
    too_long = [name for name, text in texts.items() if len(text.encode()) > MAX_NAME_BYTES]
    if not too_long:
        assert parsed("handoff.tool-outputs", body).body.stage == body["stage"]
        return
    with pytest.raises(Refused) as refused:
        parsed("handoff.tool-outputs", body)
    assert refused.value.message.split()[0] in too_long


def test_the_limit_is_in_the_schemas() -> None:
    for name in ("tool-output", "ack", "amendment"):
        schema = Path("schemas/json", f"{name}.schema.json").read_text()
        assert f'"maxLength": {MAX_NAME_BYTES}' in schema
        avro = json.loads(Path("schemas/avro", f"{name}.avsc").read_text())
        docs = {field["name"]: field.get("doc") for field in avro["fields"]}
        assert docs["task_id"] == f"At most {MAX_NAME_BYTES} bytes of UTF-8."


def test_a_dry_run_says_what_is_too_long(tmp_path: Path) -> None:
    """It parses as the processor does, and as `send` does before it sends."""
    (tmp_path / "receiver.yaml").write_text("kind: Receiver\nid: r\nteam: r\n")
    body = WHOLE["handoff.tool-outputs"] | {"stage": "x" * 600}
    (tmp_path / "lines.jsonl").write_bytes(msgspec.json.encode(body))
    command = ["dry-run", "--contracts", str(tmp_path), str(tmp_path / "lines.jsonl")]
    result = CliRunner().invoke(main, command)
    (line,) = map(json.loads, result.stdout.splitlines())
    assert line["topic"] == "handoff.dead-letters"
    headers = line["headers"]
    assert headers["__streams.errors.exception"] == "member_too_long"
    assert headers["__streams.errors.message"].startswith("stage has 600 bytes")


def test_what_people_say_is_checked_before_it_is_written(handoff: HandoffCommand) -> None:
    about = ("h-1", "--task", "t", "--workflow", "w")
    for arguments, told in (
        (("ack", *about, "--status", "accepted", "--by", "x" * 513), "by has 513 bytes"),
        (("discard", *about, "--reason", "é" * 2049), "reason has 4,098 bytes"),
        (("release", "h" * 600, *about[1:], "--reason", "r"), "handoff_id has 600 bytes"),
    ):
        refused = handoff(*arguments)
        assert refused.exit_code == 2
        assert f"{told}, the limit is " in refused.stderr
        assert refused.stderr.endswith("; nothing was written\n")
    assert on_topic("handoff.acks") == on_topic("handoff.amendments") == []


def test_send_names_what_becomes_a_dead_letter(handoff: HandoffCommand) -> None:
    lines = msgspec.json.encode(WHOLE["handoff.tool-outputs"] | {"tool": "x" * 600})
    sent = handoff("send", "-", lines=lines)
    assert sent.exit_code == 2
    assert "line 1: sent, and becomes a dead letter: tool has 600 bytes, the limit is 512" in (
        sent.stderr
    )


@pytest.mark.parametrize("member", ["continues", "continued_by", "unlinked"])
@pytest.mark.parametrize("name", ["task_id", "workflow"])
def test_the_name_of_another_task_is_as_short_as_its_own(member: str, name: str) -> None:
    body = WHOLE["handoff.tool-outputs"]
    other = {"task_id": "t", name: 512 * "x"}
    parsed("handoff.tool-outputs", body | {member: [other]})
    with pytest.raises(Refused, match=rf"{member}\[1\]\.{name} has 513 bytes"):
        parsed("handoff.tool-outputs", body | {member: [other, other | {name: 513 * "x"}]})
