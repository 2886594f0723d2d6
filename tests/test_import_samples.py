"""Files that teams really have, from the data folder beside the clone: none is silently empty."""

from pathlib import Path

import msgspec

from console.importers.importing import Import, Options
from schemas.records import ToolOutput

# By folder: the format that is found, empty where the files are named and not read.
FORMATS = {
    "a2a": set[str](),
    "anthropic": {"anthropic"},
    "cloudevents": set[str](),
    "debezium": set[str](),
    "langchain": {"langchain"},
    "langfuse": {"langfuse"},
    "mcp": set[str](),
    "openai-agents-traces": {"agents-sdk"},
    "openai-chat": {"openai-chat"},
    "openai-responses": {"openai-responses"},
    "tau2": {"tau2"},
    "toolbench": {"toolbench"},
}


def files(shared: Path) -> list[Path]:
    found = (shared / "data" / "formats").glob("*/*.json*")
    return sorted(path for path in found if path.parent.name in FORMATS)


def test_every_sample_is_taken_or_named(shared: Path) -> None:
    taken: dict[str, set[str]] = {name: set() for name in FORMATS}
    for path in files(shared):
        found = Import(Options())
        lines = list(found.lines([str(path)]))
        outputs = [msgspec.json.decode(line, type=ToolOutput) for line in lines]
        assert len({each.id for each in outputs}) == len(outputs)
        taken[path.parent.name] |= set(found.formats.get(str(path), {}))
        assert outputs or found.bad or found.counts.left_out or "autogen" in path.name, path
        assert all("Traceback" not in why for why in found.first_bad)
    assert taken == FORMATS


def test_requests_and_responses_of_a_recording_are_one_conversation(shared: Path) -> None:
    folder = shared / "data" / "formats" / "anthropic"
    paths = [
        str(folder / f"pydantic_parallel.{number}.{kind}.json")
        for number in (0, 1)
        for kind in ("request", "response")
    ]
    found = Import(Options())
    outputs = [msgspec.json.decode(line, type=ToolOutput) for line in found.lines(paths)]
    assert found.counts.left_out == {}
    assert len({each.task_id for each in outputs}) == 1
    assert [each.tool for each in outputs].count("retrieve_entity_info") == 4
    assert [each.tool for each in outputs].count("user") == 1
