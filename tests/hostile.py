"""Text that would do something to a terminal or a log, in every place that takes text."""

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

# By class; "\n" is in C0: a name with one must not begin a line that looks like one of ours.
CLASSES: dict[str, str] = {
    "C0": "".join(map(chr, range(0x20))),
    "DEL and C1": "".join(map(chr, range(0x7F, 0xA0))),
    "bidi": "\u200e\u200f\u061c"
    + "".join(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)])),
    "no width": "\u00ad\u200b\u200c\u200d\u2060\u2061\u2062\u2063\u2064\ufeff\U000e0001\U000e007f",
    "separators": "\u2028\u2029",
    "escapes": "\x1b[31m\x1b]0;title\x07\x9b2J\x1b[2K\r",
}
FORGED = "FORGED 2026-01-01 ERROR all is lost"
NOW = "2026-11-22T09:15:00Z"


def text(kind: str) -> str:
    """A name of this class: begins harmlessly, and tries to begin a line."""
    return f"a{CLASSES[kind]}\n{FORGED}"


def check_shown(shown: str, what: str = "") -> None:
    """What a person or a log gets is printable, line by line, and nobody forged a line."""
    for line in shown.split("\n"):
        wrong = sorted({f"U+{ord(c):04X}" for c in line if not c.isprintable()})
        assert not wrong, f"{what}: {wrong} in {line[:200]!r}"
        assert not line.startswith(FORGED), what


def contract(name: str, version: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "kind": "HandoffContract",
        "id": "c",
        "version": version,
        "owner": {"name": name, "contact": name},
        "action": name,
        "description": name,
        "workflow": name,
        "from": {"team": name, "stage": name},
        "to": {"receiver": "r", "stage": f"{name}2"},
        "fields": [
            {"name": name, "classification": name, "translate": {name: name}},
            {"name": f"{name}-lost", "type": "string"},
            {"name": "own", "schema": {"description": name, "type": "string"}},
        ],
        "rules": [{"name": name, "expr": "context.own == 'x'", "message": name}],
        "accept": {"tools": [name]},
        "accept_within": "PT1H",
        "hold_on": [],
    } | more


def receiver(name: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": "Receiver",
        "id": "r",
        "team": name,
        "owners": [{"name": name, "contact": name, "until": "2020-01-01"}],
        "consumer_group": name,
        "checks_every": "PT2H",
    } | more


def outputs(name: str) -> list[dict[str, Any]]:
    """Two moves of one task, a handoff on the contract, and one to nobody."""
    common = {"task_id": name, "workflow": name, "tool": name, "team": name, "occurred_at": NOW}
    lost = {f"{name}-lost": "kept", name: name, "own": name}
    return [
        common | {"id": f"{name}1", "stage": f"{name}0", "context": lost},
        common | {"id": f"{name}2", "stage": name, "context": {name: "b"}, "handoff": {"to": "r"}},
        common
        | {
            "id": f"{name}3",
            "stage": f"{name}2",
            "retracted": [name],
            "context": {"note": "kept"},
            "handoff": {"to": f"{name}-nobody", "part": name, "note": name},
        },
    ]


def lines(name: str) -> str:
    return "".join(json.dumps(each) + "\n" for each in outputs(name))


def spelled(document: dict[str, Any]) -> str:
    """A document in ASCII: JSON is YAML, but for the pairs of surrogates."""
    return re.sub(
        r"\\u(d[89ab]..)\\u(d[c-f]..)",
        lambda pair: f"\\U{ord(bytes.fromhex(pair[1] + pair[2]).decode('utf-16-be')):08x}",
        json.dumps(document),
    )


def write(directory: Path, name: str) -> None:
    """The documents, a newer version of the contract, wrong ones, recorded lines, a transcript."""
    for folder in ("documents", "newer", "wrong"):
        (directory / folder).mkdir(parents=True)
    documents = [contract(name), receiver(name)]
    newer = [contract(f"{name}n", 2, workflow=name, hold_on=["any"]), receiver(name)]
    for folder, found in (("documents", documents), ("newer", newer)):
        for number, each in enumerate(found):
            (directory / folder / f"{number}.yaml").write_text(spelled(each))
    bad: list[dict[str, Any]] = [
        {"kind": name},
        contract(name) | {name: name},
        contract(name, id=name, status=name, accept_within=name, hold_on=[name]),
        contract(name, rules=[{"name": name, "expr": f"'{name}' == own. .x", "message": name}]),
        contract(name, fields=[{"name": name}, {"name": name}]),
        contract(name, severity={name: name}, repeat={"by": name}),
        contract(name, fields=[{"name": "a", "schema": {"type": name}}]),
        contract(name, fields=[{"name": "a", "from": f"{name}..b"}]),
        receiver(name, queue=name, owners=[{"name": name, "contact": name, "until": name}]),
    ]
    for number, each in enumerate(bad):
        (directory / "wrong" / f"{number}.yaml").write_text(spelled(each))
    (directory / "wrong" / "raw.yaml").write_text(f"kind: {name}\n{name}: [", errors="ignore")
    (directory / "lines.jsonl").write_text(lines(name))
    (directory / "bad.jsonl").write_text(
        f"{json.dumps({'topic': name, 'value': {}})}\n{json.dumps({'task_id': name})}\n"
        f"{json.dumps(outputs(name)[0] | {'occurred_at': name})}\n"
    )
    call = {"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}}
    answer = {"role": "tool", "tool_call_id": name, "content": json.dumps({name: name})}
    chat = [{"role": "user", "content": name}, {"role": "assistant", "tool_calls": [call]}, answer]
    (directory / "chat.json").write_text(json.dumps([{"task_id": name, "messages": chat}]))


def is_hostile(char: str) -> bool:
    """Whether a character is one that the classes above are samples of."""
    return unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp", "Cs", "Cn", "Co"}
