"""What people see: masked values, plain text, every field with its origin."""

import io
import json
from pathlib import Path
from typing import get_args

import msgspec
from click.testing import CliRunner
from rich.console import Console, RenderableType

from console import cards, render
from console.main import main
from console.masking import MASK
from console.remembered import SeenTasks
from schemas.flow import Record
from schemas.loading import load
from schemas.records import Package, Pattern, Signal, Violation, ViolationKind

DEMO = Path(__file__).parents[1] / "console" / "demo"


def shown(what: RenderableType) -> str:
    stream = io.StringIO()
    Console(file=stream, width=100).print(what)
    return stream.getvalue()


def values(topic: str, story: str = "sales") -> list[bytes]:
    arguments = ["dry-run", "--contracts", str(DEMO), str(DEMO / f"{story}.jsonl")]
    lines = CliRunner().invoke(main, arguments).stdout.splitlines()
    found = [json.loads(line) for line in lines]
    return [json.dumps(each["value"]).encode() for each in found if each["topic"] == topic]


def package(story: str = "sales", topic: str = "handoff.packages") -> Package:
    return msgspec.json.decode(values(topic, story)[0], type=Package)


def contracts() -> render.Contracts:
    return render.Contracts(load([DEMO]).contracts)


def test_a_package_tells_who_what_and_how_each_field_got_there() -> None:
    text = shown(render.package(package(), contracts()))
    assert "sales · qualify → marketing-nurture" in text
    assert "Dana Reyes <dana@nordlicht.example>" in text
    assert "accept by 2026-03-02 14:00 UTC" in text
    assert "rebuilt from converse/meeting-notes" in text
    assert "arrived from the sender 30%" in text
    assert "the receiver gets 100%" in text


def test_a_name_that_is_a_classified_value_is_masked() -> None:
    sent = package()
    secret = msgspec.json.decode(sent.context["contact_name"], type=str)
    context = {**sent.context, secret.upper(): msgspec.Raw(b"1"), "tone": msgspec.Raw(b'"ok"')}
    text = shown(render.package(msgspec.structs.replace(sent, context=context), contracts()))
    assert secret.lower() not in text.lower()
    assert "tone" in text


def test_a_card_masks_what_tells_a_value_that_an_earlier_card_of_the_task_had() -> None:
    sent, seen, known = package(), SeenTasks(), contracts()
    secret = msgspec.json.decode(sent.context["contact_name"], type=str)
    words = {"intent": msgspec.Raw(json.dumps(f"as {secret} said").encode())}
    told = msgspec.structs.replace(sent, context=words, note=f"ring {secret}", revision=2)
    other = msgspec.structs.replace(told, task_id="another")

    def card(record: Package) -> str:
        value = msgspec.json.encode(record)
        made = Record("handoff.packages", 0, 0, key=None, value=value, timestamp=0)
        return shown(cards.card(made, lambda *_: known, seen))

    assert secret in card(told), "nothing is known of it yet"
    card(sent)
    assert secret not in card(told)
    assert secret in card(other)


def test_classified_values_are_masked_under_every_name_of_theirs() -> None:
    text = shown(render.package(package(), contracts()))
    assert MASK in text
    for secret in ("Mara", "fjord", "40 shops"):
        assert secret not in text
    sent = package()
    extra = {
        "contact": msgspec.Raw(b'{"email": "mara@fjord.example"}'),
        "tone": msgspec.Raw(b'"ok"'),
    }
    text = shown(render.package(msgspec.structs.replace(sent, context=extra), contracts()))
    assert "fjord" not in text, "contact.email is a path of a classified field"
    assert "ok" in text


def test_without_the_contract_at_hand_no_value_is_shown() -> None:
    text = shown(render.package(package(), render.Contracts([])))
    assert "24000" not in text
    assert "high-intent" not in text


def test_an_optional_field_that_is_missing_is_told_apart() -> None:
    second = msgspec.json.decode(values("handoff.packages")[1], type=Package)
    lines = shown(render.package(second, contracts())).splitlines()
    assert any("✗  budget" in line and "  missing" in line for line in lines)
    assert any("·  tone" in line and "optional, missing" in line for line in lines)


def test_a_held_package_says_so_and_names_nobody_as_owner() -> None:
    held = package("support", "handoff.held")
    text = shown(render.package(held, contracts()))
    assert "HELD" in text
    assert held.id in text, "`no longer held` names it"
    assert "held for  owner_missing" in text
    assert "nobody" in text


def test_a_held_package_names_only_what_holds_it() -> None:
    held = package("support", "handoff.held")
    assert len(held.violations) > 1, "others do not hold it"
    assert contracts().holding(held) == ["owner_missing: no owner of its receiver is in force"]
    ids = [f"{held.id}:1:{rest}" for rest in ("never_captured:a:b", "never_captured:c")]
    ids += [f"{held.id}:1:{rest}" for rest in ("context_dropped:d", "owner_missing:")]
    origin = next(each for each in held.provenance.values() if each.how == "rebuilt")
    held = msgspec.structs.replace(held, violations=ids, provenance={"d": origin})
    unknown = render.Contracts([])
    assert unknown.holding(held) == [
        "never_captured (a:b, c): no tool captured it",
        "owner_missing: no owner of its receiver is in force",
    ]
    assert contracts().holding(msgspec.structs.replace(held, contract=None)) == []


def test_how_it_began_and_what_became_of_it_stands_in_the_panel() -> None:
    first = package()
    assert "begun" not in shown(render.package(first, contracts()))
    later = msgspec.structs.replace(first, begun="implicit", overridden=True, revision=3)
    text = shown(render.package(later, contracts()))
    assert "begun     implicit: nobody declared it" in text
    assert "sent, as it is, revision 3" in text


def test_text_of_others_does_nothing_to_the_terminal() -> None:
    evil = "\x1b]0;title\x07[bold red]x\u202e\x9b1m\r\n"
    record = msgspec.structs.replace(
        package(), note=evil, action=evil, context={evil: msgspec.Raw(json.dumps(evil).encode())}
    )
    text = shown(render.package(record, contracts()))
    assert not {"\x1b", "\x07", "\x9b", "\u202e", "\r"} & set(text)
    assert "[bold red]x" in text, "markup is text"


def test_violations_and_signals_in_words() -> None:
    violation = msgspec.json.decode(values("handoff.violations")[0], type=Violation)
    text = " ".join(shown(render.violation(violation)).split())
    assert violation.message in text
    assert "to act: Dana Reyes" in text
    assert "last had by call-recorder at converse (handoff.tool-outputs/" in text
    resolved = msgspec.structs.replace(
        violation, status="resolved", resolution="sent_again", message="It was sent again."
    )
    assert "task lead-2041: It was sent again." in shown(render.violation(resolved))
    assert "lead-2041" not in shown(render.violation(resolved, brief=True))
    signal = msgspec.json.decode(values("handoff.signals", "support")[0], type=Signal)
    assert "held" in shown(render.signal(signal))
    sent = msgspec.json.decode(values("handoff.signals")[0], type=Signal)
    assert "was sent to marketing-nurture" in sent.message, "nobody has confirmed more than that"


def test_a_pattern_shows_tasks_where_it_has_some() -> None:
    at = "2026-03-02T10:00:00Z"
    found = json.loads(values("handoff.patterns")[0]) | {"first_seen": at, "last_seen": at}

    def text(tasks: list[str]) -> str:
        data = json.dumps(found | {"tasks": tasks}).encode()
        record = msgspec.json.decode(data, type=Pattern)
        return " ".join(shown(render.pattern(record, contracts())).split())

    assert text(["a", "b", "c", "d"]).endswith("; tasks a, b, c ...")
    assert text(["a"]).endswith("; tasks a")
    assert "tasks" not in text([]).rsplit("to act:", 1)[1], "no empty list"


def test_values_are_short_and_on_one_line() -> None:
    assert render.shown(msgspec.Raw(b'"a\\nb"')) == "a b"
    assert render.shown(msgspec.Raw(b'{"a": 1.50,\n"b": []}')) == '{"a":1.50,"b":[]}'
    assert len(render.shown(msgspec.Raw(b'"' + b"x" * 500 + b'"'))) == 24


def test_each_kind_that_can_hold_is_told_in_words() -> None:
    kinds = set(get_args(ViolationKind))
    never = {
        "handoff_missing", "not_accepted", "not_completed", "rejected", "held_too_long",
        "handoff_loop", "unknown_handoff", "context_reentered", "link_refused",
        "source_silent",
    }  # fmt: skip
    assert kinds - never == set(render.HELD_FOR)
