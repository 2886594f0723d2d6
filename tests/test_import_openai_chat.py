"""The OpenAI chat importer, on transcripts small enough to read."""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from console.importers.importing import Import, Options
from console.main import main
from processors.intake.transcripts.conversations import target
from processors.intake.transcripts.errors import TranscriptError
from processors.integrity.processor import INTEGRITY
from schemas.flow import Record
from schemas.records import ToolOutput

Message = dict[str, Any]
Write = Callable[..., Path]


def call(tool: str, arguments: Any, id: str = "c1") -> Message:
    return {"id": id, "type": "function", "function": {"name": tool, "arguments": arguments}}


def asks(*calls: Message) -> Message:
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": list(calls),
        "function_call": None,  # as OpenAI's own client writes it
    }


def answers(content: Any, id: str = "c1") -> Message:
    return {"role": "tool", "tool_call_id": id, "content": content}


def one(tool: str, arguments: Any, content: Any) -> list[Message]:
    """A transcript of one call and its result."""
    return [{"role": "user", "content": "help"}, asks(call(tool, arguments)), answers(content)]


LOOK_UP = one("get_order", '{"order_id": "A7"}', '{"user_id": "kim", "items": [1, 2]}')
HAND_OFF = one("transfer_to_human_agents", '{"summary": "Kim is angry"}', "Transfer successful")


def import_openai_chat(path: Path, **options: Any) -> list[bytes]:
    """The lines of the calls in a file; what was said in it is left away."""
    found = Import(Options(format="openai-chat", **options))
    lines = list(found.lines([str(path)]))
    if found.bad:
        raise TranscriptError(found.first_bad[0])
    return [line for line in lines if b'_said":' not in line]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(*lines: Any, name: str = "chats.json", text: str | None = None) -> Path:
        path = tmp_path / name
        body = text if text is not None else "\n".join(json.dumps(line) for line in lines)
        path.write_bytes(gzip.compress(body.encode()) if name.endswith(".gz") else body.encode())
        return path

    return _write


def read(path: Path, **options: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in import_openai_chat(path, **options)]


def context_of(path: Path) -> Any:
    [output] = read(path)
    return output["context"]


def test_a_call_and_its_result_become_one_tool_output(write: Write) -> None:
    assert read(write([{"task_id": 4, "trial": 0, "traj": LOOK_UP}])) == [
        {
            "id": "4-0#1.0",
            "task_id": "4-0",
            "workflow": "conversation",
            "stage": "assistant",
            "tool": "get_order",
            "team": "assistants",
            "occurred_at": "2024-01-01T00:00:02Z",
            "run": "4-0",
            "context": {
                "order_id": "A7",
                "get_order": {"user_id": "kim", "items": [1, 2]},
                "user_id": "kim",
                "items": [1, 2],
            },
        }
    ]


def test_a_handoff_carries_its_arguments_and_nothing_of_its_result(write: Write) -> None:
    [output] = read(write([HAND_OFF]))
    assert output["handoff"] == {"to": "human-agents"}
    assert output["context"] == {"summary": "Kim is angry"}


def test_other_tools_hand_off_when_told_to(write: Write) -> None:
    path = write([LOOK_UP, HAND_OFF])
    first, second = read(path, handoffs={"get_order": "shop"}, only_these=True)
    assert first["handoff"] == {"to": "shop"}
    assert "handoff" not in second


@pytest.mark.parametrize(
    ("told", "receiver"),
    [
        ("Transferred to Refund Desk.", "Refund Desk"),
        ("Done.\n  transferred back to Front Desk. \n", "Front Desk"),
        ("transferred to A\nand more", "human"),
        ("transferred to .", "human"),
        # Minutes for a pattern that looks for the end behind the blanks.
        ("transferred to A" + " " * 60_000 + "\nand more", "human"),
    ],
)
def test_the_result_of_a_transfer_may_name_the_receiver(told: str, receiver: str) -> None:
    assert target("transfer_to_human", None, told) == (receiver, False)


def test_a_log_that_ends_at_the_handoff_has_it(write: Write) -> None:
    unanswered = [*LOOK_UP, asks(call("get_order", "{}", "c2"), HAND_OFF[1]["tool_calls"][0])]
    [_, output] = read(write([unanswered]))
    assert (output["id"], output["handoff"]) == ("chats-1#3.1", {"to": "human-agents"})
    assert output["occurred_at"] == "2024-01-01T00:00:03Z"


@pytest.mark.parametrize(
    "content",
    [
        "Error: not enough seats",
        "ValueError: no such flight",
        "requests.exceptions.HTTPError: 500",
        "An error occurred while running the tool",
        "Traceback (most recent call last):",
        '"Error: no such order"',
        '{"error": "no such order"}',
        '{"error": {"code": 4}, "order_id": "B1"}',
        '{"isError": true, "text": "no"}',
        '{"success": false}',
    ],
)
@pytest.mark.parametrize("tool", ["get_order", "transfer_to_human_agents"])
def test_an_error_tells_nothing_and_hands_nothing_off(
    write: Write, tool: str, content: str
) -> None:
    [output] = read(write([one(tool, '{"order_id": "A7"}', content)]))
    assert output["context"] == {}
    assert "handoff" not in output


@pytest.mark.parametrize(
    "content", ['{"error": null, "n": 1}', '{"error": "", "n": 1}', '{"success": true, "n": 1}']
)
def test_an_error_member_without_an_error_is_none(write: Write, content: str) -> None:
    assert context_of(write([one("look", "{}", content)]))["look"] == json.loads(content)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('[{"id": 1}]', {"look": [{"id": 1}]}),
        ("255.0", {"look": 255.0}),
        ("Errors found: 0", {"look": "Errors found: 0"}),
        ("Order shipped.", {"look": "Order shipped."}),
        ([{"type": "text", "text": "[1,"}, {"type": "text", "text": "2]"}], {"look": [1, 2]}),
        ('{"look": 1}', {"look": 1}),
        ("", {}),
        (None, {}),
    ],
)
def test_a_result_stands_under_the_tools_name(write: Write, content: Any, expected: Any) -> None:
    assert context_of(write([one("look", "{}", content)])) == expected


def test_the_result_counts_where_an_argument_has_the_same_name(write: Write) -> None:
    path = write([one("update", '{"cabin": "business", "pay": "x"}', '{"cabin": "economy"}')])
    context = context_of(path)
    assert (context["cabin"], context["pay"]) == ("economy", "x")


@pytest.mark.parametrize("arguments", ["", "{", "[1]", "null"])
def test_arguments_that_are_no_object_are_none(write: Write, arguments: str) -> None:
    assert context_of(write([one("look", arguments, "[1]")])) == {"look": [1]}


def test_arguments_may_be_an_object(write: Write) -> None:
    assert context_of(write([one("look", {"b": 2}, "[1]")])) == {"b": 2, "look": [1]}


def test_numbers_keep_their_spelling_and_pretty_printed_results_their_line(write: Write) -> None:
    content = '{\n  "big": 123456789012345678901234567890,\r\n  "price": 1.50\n}'
    [line] = import_openai_chat(write([one("look", '{"n": 1E2}', content)]))
    result = b'"big":123456789012345678901234567890,"price":1.50'
    assert b'"context":{"n":1E2,"look":{%b},%b}' % (result, result) in line
    assert b"\n" not in line
    assert b"\r" not in line


def test_parallel_calls_meet_their_results_by_id_and_follow_their_order(write: Write) -> None:
    messages = [
        asks(call("first", '{"a": 1}', "x"), call("second", '{"b": 2}', "y")),
        answers("", "y"),
        answers("", "x"),
    ]
    outputs = read(write([messages]))
    assert [(o["id"], o["tool"], o["context"]) for o in outputs] == [
        ("chats-1#0.1", "second", {"b": 2}),
        ("chats-1#0.0", "first", {"a": 1}),
    ]


def test_call_ids_that_repeat_are_told_apart_by_the_message(write: Write) -> None:
    messages = [*one("look", '{"a": 1}', "{}"), *one("look", '{"a": 2}', "{}")]
    assert [(o["id"], o["context"]["a"]) for o in read(write([messages]))] == [
        ("chats-1#1.0", 1),
        ("chats-1#4.0", 2),
    ]


def test_a_call_without_a_result_has_no_output(write: Write) -> None:
    assert read(write([[asks(call("look", '{"a": 1}'))]])) == []


@pytest.mark.parametrize(
    ("lines", "tasks"),
    [
        ([[LOOK_UP, HAND_OFF]], ["chats-1", "chats-2"]),
        ([LOOK_UP], ["chats-1"]),
        ([{"messages": LOOK_UP}], ["chats-1"]),
        ([LOOK_UP, HAND_OFF], ["chats-1", "chats-2"]),
        ([{"messages": LOOK_UP}, {"messages": HAND_OFF}], ["chats-1", "chats-2"]),
        ([[{"task_id": "q", "traj": LOOK_UP}, HAND_OFF]], ["q", "chats-2"]),
        ([[]], []),
    ],
)
@pytest.mark.parametrize("name", ["chats.json", "chats.jsonl.gz"])
def test_the_shapes_of_a_file(write: Write, lines: list[Any], tasks: list[str], name: str) -> None:
    assert [output["task_id"] for output in read(write(*lines, name=name))] == tasks


def test_a_pretty_printed_file_is_one_document(write: Write) -> None:
    path = write(text="\n" + json.dumps([LOOK_UP, HAND_OFF], indent=2))
    assert [output["task_id"] for output in read(path)] == ["chats-1", "chats-2"]


def test_the_clock_moves_a_second_a_message_from_the_start_on(write: Write) -> None:
    path = write([LOOK_UP, HAND_OFF])
    start = 1_715_803_200_000
    assert [output["occurred_at"] for output in read(path, start=start)] == [
        "2024-05-15T20:00:02Z",
        "2024-05-15T20:00:05Z",
    ]


def test_the_processor_understands_every_line(write: Write) -> None:
    path = write([LOOK_UP, HAND_OFF])
    lines = import_openai_chat(path)
    assert lines == import_openai_chat(path), "the same file gives the same bytes"
    now = int(datetime(2024, 1, 2, tzinfo=UTC).timestamp() * 1000)
    for offset, line in enumerate(lines):
        key = json.loads(line)["task_id"].encode()
        arrival = INTEGRITY.parse(Record("handoff.tool-outputs", 0, offset, key, line, now), now)
        assert isinstance(arrival.body, ToolOutput)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "chats.json: the file is empty"),
        (" \n \n", "chats.json: the file is empty"),
        ("[{", "chats.json, document 1: it is not JSON"),
        ("[[]\n,x]", "chats.json, element 2: it is not JSON"),
        ("[" * 99_999, "chats.json, document 1: the JSON nests too deep"),
        ("7", "chats.json, line 1: a transcript is an object or a list"),
        ('[{"messages": []}, 7]', "line 1, element 2: a transcript is an object or a list"),
        ('{"messages": []}\n{"messages"', "chats.json, line 2: it is not JSON"),
        ('{"messages": []}\n\n{"turns": []}', "line 3: no messages"),
        ('{"messages": [{"content": 1}]}', "line 1: message 0 has neither a role nor a type"),
        (json.dumps([asks(call("", "{}"))]), "line 1: message 0: a tool call names no tool"),
        (
            '[{"task_id": 1, "traj": []}, {"task_id": "1", "traj": []}]',
            "element 2: its task was in an earlier record",
        ),
    ],
)
def test_a_malformed_record_is_named_with_its_place(write: Write, text: str, sentence: str) -> None:
    with pytest.raises(TranscriptError, match=sentence):
        read(write(text=text))


def test_an_answer_without_its_call_is_left_out_and_counted(write: Write) -> None:
    found = Import(Options())
    assert list(found.lines([str(write([answers("x", "none")]))])) == []
    assert found.counts.left_out == {"an answer to a call that is not there": 1}


def test_the_legacy_function_call_is_a_call(write: Write) -> None:
    asked = {
        "role": "assistant",
        "content": None,
        "function_call": {"name": "f", "arguments": "{}"},
    }
    path = write([asked, {"role": "function", "name": "f", "content": '{"a": 1}'}])
    assert context_of(path) == {"f": {"a": 1}, "a": 1}


def test_content_of_another_type_is_refused_with_its_place(write: Write) -> None:
    with pytest.raises(TranscriptError, match="message 2: the content of a tool's answer"):
        read(write([one("look", "{}", 7)]))


def test_a_file_that_cannot_be_read_is_refused(write: Write, tmp_path: Path) -> None:
    with pytest.raises(TranscriptError, match=r"none\.json: there is no such file"):
        read(tmp_path / "none.json")
    path = write([LOOK_UP], name="cut.json.gz")
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(TranscriptError, match=r"cut\.json\.gz: cannot be read"):
        read(path)


def test_what_people_and_agents_say_is_captured(write: Write) -> None:
    path = write([*LOOK_UP, {"role": "assistant", "content": "It is in Oslo."}])
    lines = [json.loads(line) for line in Import(Options()).lines([str(path)])]
    assert [
        (line["id"], line["tool"], line["context"])
        for line in lines
        if "order_id" not in line["context"]
    ] == [
        ("chats-1#0", "user", {"user_said": "help"}),
        ("chats-1#3", "assistant", {"assistant_said": "It is in Oslo."}),
    ]


def test_transcripts_without_anything_print_nothing_and_say_so(write: Write) -> None:
    path = write([{"role": "system", "content": "hi"}])
    result = CliRunner().invoke(main, ["import", "openai-chat", str(path)])
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no message in it calls a tool or says anything" in result.stderr
