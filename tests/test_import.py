"""`handoff import`: what it finds out of a file, and that it never ends silently."""

import gzip
import json
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from console.importers.importing import FORMATS, Import, Options
from console.importers.tables import Columns
from console.main import main
from schemas.records import ToolOutput

Write = Callable[[str, Any], Path]
USER = {"role": "user", "content": "Where is A7?"}
CALL = {"id": "call_0123456789abcdef", "function": {"name": "look", "arguments": '{"n": 1}'}}
ASKED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
ANSWER = {"role": "tool", "tool_call_id": "call_0123456789abcdef", "content": '{"city": "Oslo"}'}
LAST = {"role": "assistant", "content": "In Oslo."}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(name: str, body: Any) -> Path:
        path = tmp_path / name
        data = body if isinstance(body, bytes) else str(body).encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return _write


def handoff(*arguments: Any, input: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["import", *map(str, arguments)], input=input)


def outputs(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def lines(*paths: Path, **options: Any) -> list[dict[str, Any]]:
    found = Import(Options(**options))
    made = [json.loads(line) for line in found.lines([str(path) for path in paths])]
    assert found.bad == 0, found.first_bad
    return made


# --- conversations that come again ---------------------------------------------------------------


def test_a_request_and_its_response_and_the_next_request_are_one_conversation(write: Write) -> None:
    files = [
        write("1.request.json", json.dumps({"model": "m", "messages": [USER]})),
        write("1.response.json", json.dumps({"choices": [{"message": ASKED}]})),
        write("2.request.json", json.dumps({"model": "m", "messages": [USER, ASKED, ANSWER]})),
        write("2.response.json", json.dumps({"choices": [{"message": LAST}]})),
    ]
    made = lines(*files)
    assert {each["task_id"] for each in made} == {"1-1"}
    assert [each["context"] for each in made] == [
        {"user_said": "Where is A7?"},
        {"n": 1, "look": {"city": "Oslo"}, "city": "Oslo"},
        {"assistant_said": "In Oslo."},
    ]
    assert [each["context"] for each in lines(files[0], files[2])] == [
        each["context"] for each in made[:2]
    ], "without the responses too"


def test_each_agent_may_have_its_own_system_message(write: Write) -> None:
    requests = [
        {"model": "m", "messages": [{"role": "system", "content": "A"}, USER]},
        {"model": "m", "messages": [{"role": "system", "content": "B"}, USER, ASKED, ANSWER]},
    ]
    made = lines(write("chats.jsonl", "\n".join(map(json.dumps, requests))))
    assert [each["tool"] for each in made] == ["user", "look"]


def test_two_who_ask_the_same_are_two(write: Write) -> None:
    asked = {"model": "m", "messages": [USER]}
    answered = {"choices": [{"message": LAST}]}
    text = "\n".join(map(json.dumps, [asked, answered, asked, answered]))
    assert {each["task_id"] for each in lines(write("c.jsonl", text))} == {"c-1", "c-3"}


def test_a_request_that_was_cut_shows_what_the_next_agent_lost(write: Write) -> None:
    moved = {
        "id": "call_fedcba9876543210",
        "function": {"name": "transfer_to_sales", "arguments": "{}"},
    }
    hands = {"role": "assistant", "tool_calls": [moved]}
    done = {
        "role": "tool",
        "tool_call_id": "call_fedcba9876543210",
        "content": '{"assistant": "Sales"}',
    }
    whole = [USER, ASKED, ANSWER, hands, done]
    first = {"model": "m", "messages": [USER, ASKED, ANSWER]}
    answered = {"choices": [{"message": hands}]}
    for shown, expected in (
        (whole, {"to": "Sales", "carries": "history"}),
        ([USER, hands, done], {"to": "Sales"}),
    ):
        records = [first, answered, {"model": "m", "messages": shown}]
        made = lines(write("c.jsonl", "\n".join(map(json.dumps, records))))
        assert made[-1]["handoff"] == expected
    assert made[-1]["context"] == {"user_said": "Where is A7?"}


# --- files ---------------------------------------------------------------------------------------


def test_it_tells_the_format_and_counts(write: Write) -> None:
    path = write("c.json.gz", json.dumps({"messages": [USER, ASKED, ANSWER, LAST]}))
    result = handoff(path)
    assert result.exit_code == 0
    assert f"{path}: openai-chat (1 record)" in result.stderr
    assert "a clock: from 2024-01-01T00:00:00Z on" in result.stderr
    assert result.stderr.endswith("1 record read; 3 outputs; 0 handoffs\n")


def test_standard_input_is_a_file_too() -> None:
    result = handoff("-", input=json.dumps([USER]).encode())
    assert [each["task_id"] for each in outputs(result)] == ["stdin-1"]
    zipped = handoff("-", input=gzip.compress(json.dumps([USER]).encode()))
    assert zipped.stdout == result.stdout


def test_bad_lines_are_named_and_the_others_taken(write: Write) -> None:
    good = json.dumps({"messages": [USER]})
    other = json.dumps({"messages": [LAST]})
    path = write("c.jsonl", "\n".join([good, *["{"] * 7, '{"a": 1}', other]))
    result = handoff(path)
    assert result.exit_code == 1
    assert len(outputs(result)) == 2
    assert f"{path}, line 2: it is not JSON" in result.stderr
    for number in range(3, 7):
        assert f"{path}, line {number}: the same\n" in result.stderr
    assert f"{path}, line 7" not in result.stderr
    assert "and 3 more that could not be read" in result.stderr
    assert "8 records could not be read; the others were imported" in result.stderr


FOREIGN = {
    "Bedrock": [{"toolUse": {"toolUseId": "t", "name": "f", "input": {}}}],
    "Gemini": [{"functionCall": {"name": "f", "args": {}}}],
    "Vercel": [{"type": "tool-call", "toolCallId": "t", "toolName": "f", "args": {}}],
}


@pytest.mark.parametrize("whose", FOREIGN)
@pytest.mark.parametrize("member", ["content", "parts"])
@pytest.mark.parametrize("format_", ["", "openai-chat"])
def test_calls_in_a_form_that_is_not_read_are_no_silence(
    write: Write, whose: str, member: str, format_: str
) -> None:
    told = {"messages": [USER, {"role": "assistant", member: FOREIGN[whose]}]}
    result = handoff(
        *(["--format", format_] if format_ else []), write("a.jsonl", json.dumps(told))
    )
    assert result.exit_code == 2
    assert re.search(rf"line 1: message 1: it is in the form of .*{whose}", result.stderr)
    beside = {"role": "assistant", member: FOREIGN[whose], "tool_calls": [CALL]}
    assert handoff(write("b", json.dumps({"messages": [USER, beside, ANSWER]}))).exit_code == 0


def test_calls_of_other_kinds_have_their_answers(write: Write) -> None:
    custom = {"id": "c", "type": "custom", "custom": {"name": "shell", "input": "ls"}}
    chat = [
        {"role": "assistant", "tool_calls": [custom]},
        {"role": "tool", "tool_call_id": "c", "content": "a.txt"},
    ]
    items = [
        {"type": "custom_tool_call", "call_id": "c", "name": "shell", "input": "ls"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "a.txt"},
        {"type": "mcp_call", "id": "m", "name": "look", "arguments": "{}", "output": '{"n": 2}'},
        {"type": "mcp_call", "id": "n", "name": "look", "arguments": "{}", "error": "gone"},
    ]
    blocks = [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"url": "u"}]},
        {"type": "tool_use", "id": "t", "name": "f", "input": {}},
    ]
    answer = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]}
    for told, contexts in (
        (chat, [{"shell": "a.txt"}]),
        ({"input": items}, [{"shell": "a.txt"}, {"look": {"n": 2}, "n": 2}, {}]),
        (
            {"messages": [{"role": "assistant", "content": blocks}, answer]},
            [{"query": "q", "web_search": [{"url": "u"}]}, {}],
        ),
    ):
        result = handoff(write("a.json", json.dumps(told)))
        assert [each["context"] for each in outputs(result)] == contexts
        assert "left out" not in result.stderr


A2A = {"message": {"role": "ROLE_USER", "parts": [{"text": "hi"}], "messageId": "m"}}
MCP = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x"}}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("", "the file is empty"),
        ("  \n", "the file is empty"),
        ("hello", "it is not JSON"),
        (json.dumps(A2A), "this is an A2A message"),
        (json.dumps(MCP), "this is an MCP message"),
        (json.dumps({"contents": []}), "Gemini"),
        (json.dumps({"specversion": "1.0", "source": "x"}), "this is a CloudEvent"),
        (json.dumps({"op": "c", "after": {}, "source": {}}), "this is a Debezium change event"),
        (json.dumps({"object": "chat.completion.chunk"}), "a streamed answer"),
        (json.dumps({"resourceLogs": []}), "logs or metrics of OpenTelemetry"),
        (json.dumps({"task_id": "1", "tool": "x", "workflow": "w"}), "a tool output already"),
        (json.dumps({"parts": [{"part_kind": "user-prompt"}], "kind": "request"}), "Pydantic AI"),
        ('data: {"object": "chat.completion.chunk"}\n\ndata: [DONE]\n', "a streamed answer"),
        (json.dumps({"a": 1}), "its format is not known; handoff import reads openai-chat"),
        ("a,b\n1,2\n", "no column names the task; say which with --task COLUMN"),
        ("<a", "it is no XML"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><log/>", "it has a document type"),
    ],
)
def test_a_file_of_which_nothing_comes_says_why(write: Write, body: str, sentence: str) -> None:
    result = handoff(write("file", body))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert sentence in result.stderr
    assert "nothing came of" in result.stderr


@pytest.mark.parametrize("indent", [None, 2])
def test_a_list_is_read_element_by_element(write: Write, indent: int | None) -> None:
    spans = [
        {
            "object": "trace.span",
            "id": f"s{number}",
            "trace_id": "t",
            "started_at": f"2025-10-09T08:00:{number:02}Z",
            "span_data": {"type": "function", "name": "f", "input": "{}", "output": 'a "]}" \\'},
        }
        for number in range(5)
    ]
    made = lines(write("spans.json", json.dumps(spans, indent=indent)))
    assert [each["id"] for each in made] == [f"t#s{number}" for number in range(5)]


def many(count: int) -> Any:
    """A list of transcripts as bytes, in pieces, without line ends."""
    said = "x" * 2000
    yield b"["
    for number in range(count):
        messages = [{"role": "user", "content": f"{number} {said}"}, ASKED, ANSWER, LAST]
        yield (b"," if number else b"") + json.dumps(
            {"task_id": number, "messages": messages}
        ).encode()
    yield b"]"


@pytest.mark.parametrize("by_line", [True, False])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, by_line: bool) -> None:
    def peak(count: int) -> int:
        path = tmp_path / f"{count}.json"
        with path.open("wb") as file:
            for piece in many(count):
                file.write(piece.strip(b"[],") + b"\n" if by_line else piece)
        tracemalloc.start()
        made = sum(1 for _ in Import(Options()).lines([str(path)]))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert made == 3 * count
        return top

    assert peak(3000) < peak(1000) + (1 << 20)


def test_the_same_file_gives_the_same_bytes(write: Write) -> None:
    path = write("c.json", json.dumps([[USER, ASKED, ANSWER], [USER, LAST]]))
    assert handoff(path).stdout == handoff(path).stdout


# --- event logs ----------------------------------------------------------------------------------


def test_a_csv_row_is_an_output(write: Write) -> None:
    text = "Case ID;Activity;Group;Timestamp;cost\nA7;check;desk;2024-05-01 08:00:00;3\n"
    text += "A7;pay;;2024/05/02 08:00:00;\n"
    first, second = lines(write("log.csv", text))
    assert first == {
        "id": "A7#1",
        "task_id": "A7",
        "workflow": "conversation",
        "stage": "desk",
        "tool": "check",
        "team": "desk",
        "occurred_at": "2024-05-01T08:00:00Z",
        "run": "A7",
        "context": {"cost": "3"},
    }
    assert (second["stage"], second["tool"], second["id"]) == ("assistant", "pay", "A7#2")


def test_columns_may_be_named_and_bad_rows_are_told(write: Write) -> None:
    path = write(
        "log.csv", "who,what,when\nA,b,2024-05-01T08:00:00Z\n,b,2024-05-01T08:00:00Z\nA,c,soon\n"
    )
    result = handoff("--task", "who", "--tool", "what", "--time", "when", path)
    assert [each["tool"] for each in outputs(result)] == ["b"]
    assert "line 3: it has no who, so it is of no task" in result.stderr
    assert "line 4: when holds no time" in result.stderr
    missing = handoff("--task", "whom", path)
    assert (
        "it has no column whom for --task; it has who, what, when "
        "(read with commas between columns)" in missing.stderr
    )


@pytest.mark.parametrize(
    ("head", "mark"), [("", ";"), ("sep=;\n", ";"), ("", "\t"), ("sep=^\n", "^")]
)
def test_what_stands_between_columns_is_found_out(write: Write, head: str, mark: str) -> None:
    rows = [
        ["case", '"note, if any, of whom, or none"', "time"],
        ["A7", "a, b, c", "2024-05-01T08:00:00Z"],
    ]
    path = write("log.csv", head + "".join(mark.join(row) + "\n" for row in rows))
    (found,) = outputs(handoff("--format", "csv", path))
    assert found["task_id"] == "A7"
    assert found["context"] == {"note,_if_any,_of_whom,_or_none": "a, b, c"}
    told = handoff("--format", "csv", "--task", "nobody", path).stderr
    name = {";": "semicolons", "\t": "tabs", "^": "'^'"}[mark]
    assert f"(read with {name} between columns)" in told


XES = """<?xml version="1.0"?><log xmlns="http://www.xes-standard.org/"><trace>
<string key="concept:name" value="case-1"/><string key="channel" value="web"/>
<event><string key="concept:name" value="register"/><string key="org:group" value="Front desk"/>
<date key="time:timestamp" value="2024-05-01T08:00:00+02:00"/><int key="amount" value="3"/></event>
<event><string key="concept:name" value="decide"/>
<date key="time:timestamp" value="2024-05-02T08:00:00Z"/></event>
</trace></log>"""


def test_columns_that_lie_oddly_lose_nothing(write: Write) -> None:
    head = 'case,"the\nactivity",note,note\n'
    (output,) = lines(write("a.csv", f"{head}1,open,x,y\n"))
    assert output["context"] == {"the\nactivity": "open", "note": "x", "note_2": "y"}
    result = handoff(write("b.csv", f"{head}1,open,x,y,\n1,open,x,y,z\n"))
    assert len(outputs(result)) == 1
    assert "line 4: it has 5 values, and the header names 4 columns" in result.stderr
    nothing = handoff(write("c.csv", head))
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert "it holds no record, row or event" in nothing.stderr


def test_an_xes_event_is_an_output(write: Write) -> None:
    first, second = lines(write("log.xes", XES))
    assert (first["task_id"], first["stage"], first["tool"]) == ("case-1", "Front desk", "register")
    assert first["context"] == {
        "org_group": "Front desk",
        "amount": "3",
        "case_channel": "web",
    } or (first["context"] == {"amount": "3", "case_channel": "web"})
    assert first["occurred_at"] == "2024-05-01T06:00:00Z"
    assert (second["id"], second["context"]) == ("case-1#2", {})


# --- whatever comes ------------------------------------------------------------------------------

_NAMES = """
role content tool_calls function name arguments id type messages traj task_id trial choices message
input output object trace trace_id span_data parent_id started_at resourceSpans scopeSpans spans
traceId spanId attributes key value stringValue gen_ai.operation.name gen_ai.tool.name simulations
loglines observations answer_generation train_messages kwargs data model sessionId parts
tool_call_id context events
"""
_WORDS = """
user assistant tool system human ai constructor function_call function_call_output handoff agent
generation trace.span trace tool_use tool_result {} [] chat execute_tool
"""
NAMES, WORDS = st.sampled_from(_NAMES.split()), st.sampled_from(_WORDS.split())
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | WORDS
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | WORDS, inner, max_size=6),
    max_leaves=25,
)


def check(path: Path, format_: str) -> None:
    """Nothing is raised, and every output is one, with an id of its own."""
    found = Import(Options(format=format_))
    made = [msgspec.json.decode(line, type=ToolOutput) for line in found.lines([str(path)])]
    assert len({each.id for each in made}) == len(made)
    assert found.bad or found.records


@given(st.lists(VALUES, min_size=1, max_size=4), st.sampled_from(["", *FORMATS]))
@settings(
    max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_json_is_imported_or_refused(tmp_path: Path, values: list[Any], format_: str) -> None:
    path = tmp_path / "any.jsonl"
    path.write_text("\n".join(json.dumps(value) for value in values))
    check(path, format_)


@given(
    st.binary(max_size=200) | st.text(max_size=200).map(str.encode), st.sampled_from(["", *FORMATS])
)
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bytes_are_refused_at_worst(tmp_path: Path, data: bytes, format_: str) -> None:
    path = tmp_path / "any"
    path.write_bytes(data)
    found = Import(Options(format=format_, columns=Columns()))
    for line in found.lines([str(path)]):
        msgspec.json.decode(line, type=ToolOutput)


@given(st.data())
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_samples_with_a_part_that_is_something_else(tmp_path: Path, data: st.DataObject) -> None:
    """A sample of a format, with one of its values replaced by any other."""
    name, sample = data.draw(st.sampled_from(SAMPLES))
    value = json.loads(json.dumps(sample))
    at: Any = value
    for _ in range(data.draw(st.integers(0, 8))):
        if isinstance(at, dict) and at:
            step: Any = data.draw(st.sampled_from(sorted(at)))
        elif isinstance(at, list) and at:
            step = data.draw(st.integers(0, len(at) - 1))
        else:
            break
        if data.draw(st.booleans()):
            at[step] = data.draw(VALUES)
            break
        at = at[step]
    path = tmp_path / "sample.jsonl"
    path.write_text(json.dumps(value))
    check(path, data.draw(st.sampled_from(["", name])))


def otlp(**held: Any) -> dict[str, Any]:
    attributes = [{"key": key, "value": {"stringValue": text}} for key, text in held.items()]
    span = {"traceId": "ab", "spanId": "cd", "attributes": attributes, "startTimeUnixNano": "1"}
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}


SAMPLES: list[tuple[str, Any]] = [
    ("openai-chat", {"messages": [USER, ASKED, ANSWER, LAST]}),
    ("openai-chat", {"choices": [{"message": ASKED}]}),
    (
        "openai-responses",
        {
            "model": "m",
            "input": [
                USER,
                {"type": "function_call", "name": "f", "call_id": "c", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "x"},
            ],
        },
    ),
    (
        "anthropic",
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}],
                },
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}],
                },
            ]
        },
    ),
    (
        "langchain",
        {
            "messages": [
                {"type": "human", "content": "hi"},
                {"type": "ai", "content": "", "tool_calls": [{"name": "f", "args": {}, "id": "c"}]},
                {"type": "tool", "content": "x", "tool_call_id": "c", "status": "success"},
            ]
        },
    ),
    (
        "agents-sdk",
        {
            "object": "trace.span",
            "id": "s",
            "trace_id": "t",
            "span_data": {"type": "function", "name": "f", "input": "{}", "output": "x"},
        },
    ),
    (
        "otel-genai",
        otlp(
            **{
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": "f",
                "gen_ai.tool.call.result": "x",
            }
        ),
    ),
    (
        "otel-genai",
        otlp(**{"gen_ai.operation.name": "chat", "gen_ai.input.messages": json.dumps([USER])}),
    ),
    (
        "langfuse",
        {"observations": [{"id": "o", "traceId": "t", "type": "TOOL", "name": "f", "output": "x"}]},
    ),
    ("langfuse", {"id": "o", "traceId": "t", "sessionId": "s", "type": "TOOL", "name": "f"}),
    ("otel-genai", otlp(**{"openinference.span.kind": "TOOL", "output.value": "x"})),
    ("tau2", {"simulations": [{"task_id": "1", "messages": [USER, LAST]}]}),
    ("toolbench", {"answer_generation": {"train_messages": [[USER, LAST]]}}),
]


@pytest.mark.parametrize(("name", "sample"), SAMPLES)
def test_each_format_is_found_out(write: Write, name: str, sample: Any) -> None:
    path = write("sample.json", json.dumps(sample))
    found = Import(Options())
    list(found.lines([str(path)]))
    assert found.formats == {str(path): {name: 1}}
