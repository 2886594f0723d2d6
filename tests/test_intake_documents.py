"""Sources as people would write them for tools that many have: trackers that are linked, agents."""

import json
from pathlib import Path
from typing import Any

from processors.intake.compiled import compile_source
from processors.intake.mapping import map_record
from schemas.flow import Record
from schemas.lint_sources import lint_sources
from schemas.loading import load
from tests.intake import NOW

SOURCES = """\
kind: Source
id: helpdesk
owner: {name: Noor Haddad, contact: noor@example.com}
topic: helpdesk.events
decode: json
defaults: {task: "HD-{value.detail.id}", workflow: {value: question}, tool: {value: helpdesk},
  occurred_at: value.time, id: value.id}
emit:
  - stage: {lookup: groups, by: value.detail.group_id, else: dead_letter}
    context: {subject: value.detail.subject, device: "value.detail.custom_fields[id=4401].value"}
lookups: {groups: {"3107": answer}}
---
kind: Source
id: tracker
owner: {name: Noor Haddad, contact: noor@example.com}
topic: tracker.events
decode: json
let: {owner: "value.changelog.items[field=assignee]"}
defaults: {task: value.issue.key, workflow: {value: bug}, tool: {value: tracker},
  occurred_at: value.timestamp,
  id: "{value.issue.key}:{value.timestamp}:{value.webhookEvent}"}
emit:
  - when: value.webhookEvent == "jira:issue_created"
    stage: {value: triage}
    context: {summary: value.issue.fields.summary, description: value.issue.fields.description}
  - when: owner != null && owner.to != null
    stage: {current: true}
    handoff: {to: {from: owner.toString, slug: true}, carries: record}
---
kind: Source
id: agents
owner: {name: Noor Haddad, contact: noor@example.com}
topic: agent_spans
decode: {otel-genai: {task: [gen_ai.conversation.id, session.id], run: trace_id, quiet: PT10S}}
override: {workflow: 'value.resource["service.name"]'}     # over the decoder's own outputs
"""


def made(name: str, tmp_path: Path, value: Any) -> list[dict[str, Any]]:
    path = tmp_path / "sources.yaml"
    path.write_text(SOURCES, encoding="utf-8")
    found = load([path])
    assert lint_sources(found) == []
    (source,) = [each for each in found.intake_sources if each.id == name]
    record = Record(source.topic[0], 2, 40, None, json.dumps(value).encode(), NOW, [])
    mapped = map_record(compile_source(source), record, NOW)
    assert mapped.refused is None, mapped.refused
    return [json.loads(each.value or b"") for each in mapped.records]


def test_a_help_desk(tmp_path: Path) -> None:
    detail = {
        "id": 12,
        "group_id": 3107,
        "subject": "No sound",
        "custom_fields": [{"id": 4400, "value": "x"}, {"id": 4401, "value": "HX-20"}],
    }
    event = {"id": "ev-1", "time": "2026-03-02T10:00:00Z", "detail": detail}
    (output,) = made("helpdesk", tmp_path, event)
    assert output["task_id"] == "HD-12"
    assert output["stage"] == "answer"
    assert output["context"] == {"subject": "No sound", "device": "HX-20"}


def test_a_tracker(tmp_path: Path) -> None:
    fields = {"summary": "No sound on HX-20", "description": "Since 4.2"}
    created = {
        "timestamp": 1772445600000,
        "webhookEvent": "jira:issue_created",
        "issue": {"key": "FW-9", "fields": fields},
    }
    (first,) = made("tracker", tmp_path, created)
    assert (first["id"], first["stage"]) == ("FW-9:1772445600000:jira:issue_created", "triage")
    items = [
        {"field": "status", "toString": "Open"},
        {"field": "assignee", "to": "u7", "toString": "Firmware Team"},
    ]
    moved = {**created, "webhookEvent": "jira:issue_updated", "changelog": {"items": items}}
    (second,) = made("tracker", tmp_path, moved)
    assert second["handoff"] == {"to": "firmware-team", "carries": "record"}
    assert second["id"].endswith("jira:issue_updated#2")
    items[1]["to"] = None  # type: ignore[assignment]
    assert made("tracker", tmp_path, moved) == []


def test_agents_by_a_decoder_that_makes_outputs(tmp_path: Path) -> None:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "triage-bot"}}]}
    span = {"traceId": "5b8e", "spanId": "01", "name": "x"}
    told = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]}
    (made_span,) = made("agents", tmp_path, told)
    assert made_span["replaced"] == {"workflow": "triage-bot"}
    assert made_span["run"] == "5b8e"
    assert made_span["quiet"] == 10_000


def test_keys_of_a_table_are_read_as_they_are_spelled(tmp_path: Path) -> None:
    path = tmp_path / "sources.yaml"
    table = "{22741: a, 007: b, 7: c, 010: d, 1.10: e, yes: f, true: g}"
    path.write_text(SOURCES.replace('{"3107": answer}', table), encoding="utf-8")
    (helpdesk, *_) = load([path]).intake_sources
    keys = ["22741", "007", "7", "010", "1.10", "yes", "true"]
    assert helpdesk.lookups == {"groups": dict(zip(keys, "abcdefg", strict=True))}
