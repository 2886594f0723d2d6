"""Traffic that agent frameworks make themselves, with models that are scripted: what gets in.

The story is the same in each: a triage agent looks an order up and hands the conversation to a
shipping agent, whose contract asks for the address. With the whole history nothing is lost; with a
filter that takes the tools out of it, the address is.
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from console.importers.importing import Import, Options
from console.main import main
from processors.intake.transcripts.building import Defaults

ORDER = {"order_id": "A7", "address": "Elm Street 3", "total": 12.5}
CONTRACT = """\
kind: HandoffContract
id: triage-to-shipping
version: 1
status: active
owner: {name: Ana Silva, contact: ana@shop.example}
action: Send the order again.
workflow: orders
from: {stage: Triage Agent}
to: {receiver: shipping, stage: Shipping Agent}
fields:
  - {name: order_id, type: string}
  - {name: address, type: string}
---
kind: Receiver
id: shipping
aliases: [Shipping Agent, shipping_agent]
team: shipping
owners: [{name: Omar Haddad, contact: omar@shop.example}]
"""


@pytest.fixture
def findings(tmp_path: Path) -> Callable[[Path], tuple[list[dict[str, Any]], list[str]]]:
    """The packages of a recorded file, and the fields that were lost."""

    def _find(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
        contracts = tmp_path / "contracts.yaml"
        contracts.write_text(CONTRACT)
        lines = tmp_path / "lines.jsonl"
        imported = Import(Options(defaults=Defaults("orders")))
        lines.write_bytes(b"\n".join(imported.lines([str(path)])))
        assert imported.bad == 0, imported.first_bad
        result = CliRunner().invoke(main, ["dry-run", "--contracts", str(contracts), str(lines)])
        assert result.exit_code == 0, result.stderr
        records = [json.loads(line) for line in result.stdout.splitlines()]
        values = {
            topic: [each["value"] for each in records if each["topic"] == topic]
            for topic in ("handoff.packages", "handoff.violations")
        }
        broken = [
            f"{value['kind']} {value['field']}"
            for value in values["handoff.violations"]
            if value["status"] == "opened"
        ]
        return values["handoff.packages"], sorted(broken)

    return _find


Find = Callable[[Path], tuple[list[dict[str, Any]], list[str]]]
LOST = ["context_dropped address", "context_dropped order_id"]


def arrived(package: dict[str, Any]) -> set[str]:
    return {name for name, how in package["provenance"].items() if how["how"] == "arrived"}


# --- OpenAI Agents SDK ---------------------------------------------------------------------------


def agents_sdk(path: Path, cut: bool) -> None:
    """Run two agents of the SDK, and write what its trace exporter sends."""
    pytest.importorskip("agents", reason="openai-agents is not installed: make frameworks")
    from agents import (
        Agent,
        ModelResponse,
        Runner,
        Usage,
        function_tool,
        generation_span,
        handoff,
        set_trace_processors,
    )
    from agents.extensions import handoff_filters
    from agents.models.interface import Model
    from agents.tracing.processor_interface import TracingExporter
    from agents.tracing.processors import BatchTraceProcessor
    from openai.types.responses import (
        ResponseFunctionToolCall,
        ResponseOutputMessage,
        ResponseOutputText,
    )

    sent: list[Any] = []

    class Exporter(TracingExporter):
        def export(self, items: Any) -> None:
            sent.extend(item.export() for item in items)

    class Scripted(Model):
        def __init__(self, *turns: Any) -> None:
            self.turns = list(turns)

        async def get_response(
            self, system_instructions: Any, input: Any, *_: Any, **__: Any
        ) -> Any:
            with generation_span(model="scripted") as span:
                given = [{"role": "user", "content": input}] if isinstance(input, str) else input
                span.span_data.input = given
                output = [self.turns.pop(0)]
                span.span_data.output = [each.model_dump() for each in output]
            return ModelResponse(output=output, usage=Usage(), response_id=None)

        def stream_response(self, *_: Any, **__: Any) -> Any:
            raise NotImplementedError

    def calls(name: str, arguments: Any, id: str) -> Any:
        return ResponseFunctionToolCall(
            type="function_call", name=name, arguments=json.dumps(arguments), call_id=id, id=id
        )

    @function_tool
    def look_up(order_id: str) -> str:
        return json.dumps(ORDER)

    text = ResponseOutputText(type="output_text", text="It will be sent again.", annotations=[])
    said = ResponseOutputMessage(
        id="m1", type="message", role="assistant", status="completed", content=[text]
    )
    shipping: Any = Agent(name="Shipping Agent", model=Scripted(said))
    handing = handoff(shipping, input_filter=handoff_filters.remove_all_tools if cut else None)
    triage: Any = Agent(
        name="Triage Agent",
        tools=[look_up],
        handoffs=[handing],
        model=Scripted(
            calls("look_up", {"order_id": "A7"}, "call_1"),
            calls("transfer_to_shipping_agent", {}, "call_2"),
        ),
    )
    processor = BatchTraceProcessor(Exporter())
    set_trace_processors([processor])
    asyncio.run(Runner.run(triage, "My parcel never came."))
    processor.force_flush()
    processor.shutdown()
    set_trace_processors([])
    path.write_text("".join(json.dumps(each) + "\n" for each in sent if each))


# --- LangGraph -----------------------------------------------------------------------------------


def langgraph(path: Path, cut: bool) -> None:
    """Run two agents in a graph, and write what each model was given and answered."""
    pytest.importorskip("langgraph", reason="langgraph is not installed: make frameworks")
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage, HumanMessage
    from langchain_core.outputs import ChatGeneration, ChatResult
    from langchain_core.tools import tool
    from langgraph.graph import END, START, MessagesState, StateGraph
    from langgraph.prebuilt import ToolNode

    recorded: list[list[Any]] = []

    class Scripted(BaseChatModel):
        turns: list[Any]

        @property
        def _llm_type(self) -> str:
            return "scripted"

        def _generate(self, messages: Any, *_: Any, **__: Any) -> Any:
            answer = self.turns.pop(0)
            recorded.append([each.model_dump() for each in [*messages, answer]])
            return ChatResult(generations=[ChatGeneration(message=answer)])

    @tool
    def look_up(order_id: str) -> dict[str, Any]:
        """Look an order up."""
        return ORDER

    @tool
    def transfer_to_shipping_agent() -> str:
        """Hand off."""
        return "Successfully transferred to Shipping Agent"

    def asks(name: str, arguments: Any, id: str) -> Any:
        calls = [{"name": name, "args": arguments, "id": f"call_of_the_graph_{id}"}]
        return AIMessage("", name="Triage Agent", tool_calls=calls)

    first = asks("look_up", {"order_id": "A7"}, "1")
    second = asks("transfer_to_shipping_agent", {}, "2")
    triage = Scripted(turns=[first, second])
    shipping = Scripted(turns=[AIMessage("It will be sent again.", name="Shipping Agent")])

    def ship(state: Any) -> Any:
        messages = state["messages"]
        if cut:
            handing = {"call_of_the_graph_2"}
            messages = [
                each
                for each in messages
                if each.type == "human"
                or {call["id"] for call in getattr(each, "tool_calls", [])} == handing
                or getattr(each, "tool_call_id", "") in handing
            ]
        return {"messages": [shipping.invoke(messages)]}

    graph: Any = StateGraph(MessagesState)
    graph.add_node("triage", lambda state: {"messages": [triage.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode([look_up, transfer_to_shipping_agent]))
    graph.add_node("shipping", ship)
    graph.add_edge(START, "triage")
    graph.add_edge("triage", "tools")
    graph.add_conditional_edges(
        "tools",
        lambda state: "triage" if state["messages"][-1].name == "look_up" else "shipping",
    )
    graph.add_edge("shipping", END)
    graph.compile().invoke({"messages": [HumanMessage("My parcel never came.")]})
    path.write_text("".join(json.dumps({"messages": each}) + "\n" for each in recorded))


# --- OpenTelemetry -------------------------------------------------------------------------------


def spans(content: bool = True, cut: bool = False) -> list[Any]:
    """The spans of the story, made with the SDK as the GenAI conventions say."""
    pytest.importorskip(
        "opentelemetry.sdk", reason="opentelemetry is not installed: make frameworks"
    )
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "orders"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("agents")

    def said(role: str, text: str) -> Any:
        return {"role": role, "parts": [{"type": "text", "content": text}]}

    def asked(name: str, arguments: Any, id: str) -> Any:
        part = {"type": "tool_call", "id": id, "name": name, "arguments": arguments}
        return {"role": "assistant", "parts": [part]}

    def answered(result: Any, id: str) -> Any:
        return {
            "role": "tool",
            "parts": [{"type": "tool_call_response", "id": id, "response": result}],
        }

    def chat(given: list[Any], output: Any) -> None:
        with tracer.start_as_current_span("chat scripted") as span:
            span.set_attribute("gen_ai.operation.name", "chat")
            if content:
                span.set_attribute("gen_ai.input.messages", json.dumps(given))
                span.set_attribute("gen_ai.output.messages", json.dumps([output]))

    def tool(name: str, id: str, arguments: Any, result: Any) -> None:
        with tracer.start_as_current_span(f"execute_tool {name}") as span:
            span.set_attribute("gen_ai.operation.name", "execute_tool")
            span.set_attribute("gen_ai.tool.name", name)
            span.set_attribute("gen_ai.tool.call.id", id)
            if content:
                span.set_attribute("gen_ai.tool.call.arguments", json.dumps(arguments))
                span.set_attribute("gen_ai.tool.call.result", json.dumps(result))

    def agent(name: str) -> Any:
        span = tracer.start_as_current_span(
            f"invoke_agent {name}",
            attributes={
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": name,
                "gen_ai.conversation.id": "parcel-7",
            },
        )
        return span

    history = [said("user", "My parcel never came.")]
    looked = [asked("look_up", {"order_id": "A7"}, "c1"), answered(ORDER, "c1")]
    moved = [asked("transfer_to_shipping_agent", {}, "c2"), answered("Transferred", "c2")]
    with tracer.start_as_current_span("workflow"):
        with agent("Triage Agent"):
            chat(history, looked[0])
            tool("look_up", "c1", {"order_id": "A7"}, ORDER)
            chat([*history, *looked], moved[0])
            tool("transfer_to_shipping_agent", "c2", {}, "Transferred")
        with agent("Shipping Agent"):
            given = [*history, *moved] if cut else [*history, *looked, *moved]
            chat(given, said("assistant", "It will be sent again."))
    return list(exporter.get_finished_spans())


def otlp_protobuf(path: Path, cut: bool) -> None:
    found = spans(cut=cut)
    encoder = pytest.importorskip("opentelemetry.exporter.otlp.proto.common.trace_encoder")
    path.write_bytes(encoder.encode_spans(found).SerializeToString())


def otlp_json(path: Path, cut: bool) -> None:
    """As the Collector writes it: protobuf's JSON, with ids in hex."""
    import base64

    found = spans(cut=cut)
    encoder = pytest.importorskip("opentelemetry.exporter.otlp.proto.common.trace_encoder")
    from google.protobuf.json_format import MessageToDict

    document = MessageToDict(encoder.encode_spans(found))
    for resource in document["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for name in ("traceId", "spanId", "parentSpanId"):
                    if name in span:
                        span[name] = base64.b64decode(span[name]).hex()
    path.write_text(json.dumps(document))


def printed(path: Path, cut: bool) -> None:
    path.write_text("\n".join(span.to_json(indent=4) for span in spans(cut=cut)))


MADE = [agents_sdk, langgraph, otlp_protobuf, otlp_json, printed]


@pytest.mark.parametrize("make", MADE, ids=lambda each: each.__name__)
def test_a_history_that_is_handed_over_loses_nothing(
    make: Callable[[Path, bool], None], findings: Find, tmp_path: Path
) -> None:
    path = tmp_path / "recorded"
    make(path, False)
    [package], broken = findings(path)
    assert broken == []
    assert package["to"]["receiver"] == "shipping"
    assert package["from"]["stage"] == "Triage Agent"
    assert {"order_id", "address"} <= arrived(package)
    assert package["context"]["address"] == ORDER["address"]


@pytest.mark.parametrize("make", MADE, ids=lambda each: each.__name__)
def test_a_filter_that_takes_the_tools_out_loses_what_they_said(
    make: Callable[[Path, bool], None], findings: Find, tmp_path: Path
) -> None:
    path = tmp_path / "recorded"
    make(path, True)
    [package], broken = findings(path)
    assert broken == LOST
    assert package["provenance"]["address"]["how"] == "rebuilt"


def test_what_was_not_recorded_is_said_and_not_captured_as_empty(tmp_path: Path) -> None:
    path = tmp_path / "traces.json"
    path.write_text("\n".join(span.to_json(indent=None) for span in spans(content=False)))
    imported = Import(Options())
    outputs = [json.loads(line) for line in imported.lines([str(path)])]
    assert [output["context"] for output in outputs] == [{}, {}]
    assert imported.counts.unrecorded == 1
    assert outputs[1]["handoff"] == {"to": "Shipping Agent", "carries": "history"}
    result = CliRunner().invoke(main, ["import", str(path)])
    assert "were not recorded; switch on the capture of content" in result.stderr
