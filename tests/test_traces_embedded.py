"""From a topic of model calls to tool outputs: intake, the internal topic, and the traces' lane."""

import json
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from processors.intake.processor import intake
from processors.intake.traces import TraceLimits
from processors.intake.traces_processor import traces_processor
from processors.intake.transcripts.building import Defaults
from tests.commands import HandoffCommand, on_topic
from tests.lanes import wait_for
from tests.test_deadlines_wait import running
from topics.admin import Admin

SOURCE = """\
kind: Source
id: chats
owner: {name: Ana Silva, contact: ana@example.com}
topic: TOPIC
decode: {openai-chat: {task: conversation}}
"""


def test_a_conversation_becomes_tool_outputs_once_it_is_quiet(
    handoff: HandoffCommand, embedded: str, prefix: str, tmp_path: Path
) -> None:
    topic = f"{prefix}chats"
    with Admin({"bootstrap.servers": embedded}) as admin:
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)
    (tmp_path / "source.yaml").write_text(SOURCE.replace("TOPIC", topic))
    done = handoff("sources", "apply", str(tmp_path / "source.yaml"))
    assert done.exit_code == 0, done.output
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "find_order", "arguments": '{"email": "mara@example.com"}'},
    }
    messages = [
        {"role": "user", "content": "Where is my lamp?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": '{"order": "L-7"}'},
    ]
    answer = {"role": "assistant", "content": "It is on its way."}
    record = {
        "conversation": "c-1",
        "request": {"messages": messages},
        "response": {"choices": [{"message": answer}]},
    }
    with Producer({"bootstrap.servers": embedded}) as producer:
        producer.produce(topic, json.dumps(record).encode(), b"k")
        producer.produce(topic, b"no chat", b"k")
        assert producer.flush(10) == 0
    limits = TraceLimits(quiet_ms=300)
    with (
        running(intake(1 << 20, 86_400_000)),
        running(traces_processor(limits, Defaults())),
    ):
        wait_for(lambda: on_topic("handoff.tool-outputs"), 30, "outputs")
    found = on_topic("handoff.tool-outputs")
    assert {record.key for record in found} == {b"c-1"}
    assert "find_order" in {json.loads(record.value or b"")["tool"] for record in found}
    (letter,) = on_topic("handoff.dead-letters")
    assert ("handoff-source", b"chats") in letter.headers
