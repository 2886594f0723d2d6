"""Stories for the console in a browser, as records on the topics. They end at a given moment, as
the pages count from the present."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any, Final

from ruamel.yaml import YAML

from console.lines import Line
from schemas import serde
from schemas.flow import Record
from schemas.records import Amendment
from tests.read_model import MINUTE, published

HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
LOST: Final = 40  # handoffs of the last week that lost the e-mail address, and are held
LEAD: Final = "contract/lead/context_dropped/email"  # the fingerprint of their cause
EDGE: Final = "qualify → nurture"
OWNER: Final = "Dana Reyes (dana@example.com)"
TOOL: Final = "web-form"  # which had it last
_DOCUMENTS: Final = """
- kind: Receiver
  id: nurture
  team: farmers
  owners: [{name: Dana Reyes, contact: dana@example.com}]
- kind: Receiver
  id: desk
  team: helpers
  owners: [{name: Ilse Kramer, contact: ilse@example.com}]
- kind: HandoffContract
  id: lead
  version: 1
  owner: {name: Ana Silva, contact: ana@example.com}
  action: Call them.
  workflow: sales
  from: {team: hunters, stage: qualify}
  to: {receiver: nurture, stage: nurture}
  hold_on: [context_dropped]
  accept_within: PT1H
  fields:
    - {name: email, classification: pii, rebuild: false}
    - {name: budget, type: integer, rebuild: false}
"""
_TOPICS: Final = {"HandoffContract": "handoff.contracts", "Receiver": "handoff.receivers"}
_DEMO: Final = ("sales", "support", "operations")


def two_weeks(now: int) -> list[Line]:
    """Leads that hunters hand to farmers. Sixty in ten days, whole, and every other one accepted in
    time; in the last twenty hours `LOST` more, which carry no e-mail address, and are held."""
    lines = documents(YAML(typ="safe").load(_DOCUMENTS), now - 14 * DAY)
    whole = [now - 13 * DAY + number * 4 * HOUR for number in range(60)]
    broken = [now - 20 * HOUR + number * 29 * MINUTE for number in range(LOST)]
    for number, at in enumerate(sorted([*whole, *broken])):
        lost = at in broken
        context = {"budget": 7} if lost else {"budget": 7, "email": f"{number}@example.org"}
        lines += lead(f"lead-{number}", at, context)
        if not lost and number % 2:
            ack = {"id": f"ack-{number}", "status": "accepted", "by": "Dana Reyes"}
            lines.append(said("handoff.acks", f"lead-{number}", at + 20 * MINUTE, ack))
    return sorted(lines, key=lambda line: line.occurred_at or 0)


def lead(task: str, at: int, context: dict[str, Any], **more: Any) -> list[Line]:
    """One lead: a form takes it, and the CRM hands it on."""
    begun = {"email": f"{task}@example.org", **context}
    return [
        output(task, at - MINUTE, "capture", TOOL, begun, team="hunters"),
        output(task, at, "qualify", "crm-sync", context, team="hunters",
               handoff={"to": "nurture"}, **more),
    ]  # fmt: skip


def demo(now: int) -> list[Line]:
    """The outputs of the tools in the stories of `handoff demo`; the last was an hour ago."""
    folder = files("console") / "demo"
    texts = [
        line
        for name in ("sales-undeclared", "sales", "support", "support-crowd", "operations")
        for line in (folder / f"{name}.jsonl").read_text().splitlines()
        if line.strip()
    ]
    bodies = [json.loads(text) for text in texts]
    last = max(_at(body) for body in bodies)
    lines: list[Line] = []
    for name in _DEMO:
        text = (folder / f"{name}.yaml").read_text()
        lines += documents(YAML(typ="safe").load_all(text), now - 2 * DAY)
    for body in bodies:
        at = _at(body) - last + now - HOUR
        lines.append(said("handoff.tool-outputs", body["task_id"], at, body))
    return sorted(lines, key=lambda line: line.occurred_at or 0)


def hostile(now: int, name: str) -> list[Line]:
    """A task whose every name, and one value, is `name`; another value is of about 1 MB."""
    context = {f"f{name}": name, "large": "x" * 900_000}
    more = {"workflow": f"w{name}", "team": f"m{name}", "id": f"e{name}"}
    handoff = {"to": f"r{name}", "note": name}
    return [
        output(f"t{name}", now - HOUR, f"s{name}", f"o{name}", context, handoff=handoff, **more)
    ]


def long_names(now: int) -> list[Line]:
    """Tasks whose every name is one word of a hundred letters."""
    word = "customer_success_escalation_" * 4
    lines: list[Line] = []
    for number in range(12):
        at, task = now - HOUR * (13 - number), f"t{number}_{word}"
        more = {"workflow": f"w_{word}", "team": f"m_{word}"}
        context = {f"f_{word}": number, "note": "x"}
        lines += [
            output(task, at, f"a_{word}", f"o_{word}", context, **more),
            output(task, at + MINUTE, f"s_{word}", f"q_{word}", {"note": "x"},
                   handoff={"to": f"r_{word}"}, **more),
        ]  # fmt: skip
    return lines


def after(lines: Sequence[Line], amendments: Iterable[Amendment], now: int) -> list[Record]:
    """All records, with what the processor answered to amendments."""
    asked = [
        Line(1, "handoff.amendments", each.task_id.encode(), serde.encode(each),
             serde.epoch_ms(each.occurred_at), None)
        for each in amendments
    ]  # fmt: skip
    return published([*lines, *asked], now)


def documents(found: Iterable[dict[str, Any]], at: int) -> list[Line]:
    """Documents as they are registered."""
    return [
        Line(1, _TOPICS[each["kind"]], None, json.dumps(each, default=str).encode(), at, None)
        for each in found
    ]


def said(topic: str, task: str, at: int, value: dict[str, Any]) -> Line:
    """What somebody said about a task."""
    body = {"workflow": "sales", **value, "task_id": task, "occurred_at": at}
    return Line(1, topic, task.encode(), json.dumps(body).encode(), at, None)


def output(task: str, at: int, stage: str, tool: str, context: dict[str, Any], **more: Any) -> Line:
    """What a tool did."""
    body = {"id": f"{task}-{stage}", "stage": stage, "tool": tool, "context": context, **more}
    return said("handoff.tool-outputs", task, at, body)


def _at(body: dict[str, Any]) -> int:
    return serde.epoch_ms(datetime.fromisoformat(body["occurred_at"]))
