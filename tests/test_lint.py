"""What `contracts lint` finds: tables of documents and the problems that are told of them."""

import datetime as dt
import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from console.main import main
from schemas.documents import VIOLATION_KINDS
from schemas.lint import lint
from schemas.loading import load
from tests.core import CONTRACT as PLAIN

TODAY = dt.date(2027, 3, 1)
ROOT = Path(__file__).parents[1]

CONTRACT = """\
kind: HandoffContract
id: {id}
version: {version}
status: {status}
owner: {{name: Ilse Kramer, contact: ilse@example.com}}
action: Act.
workflow: lead
from: {from_}
to: {to}
"""
RECEIVER = """\
kind: Receiver
id: {id}
team: marketing
owners: {owners}
"""


def contract(
    more: str = "",
    *,
    id: str = "c",
    version: int = 1,
    status: str = "active",
    from_: str = "{team: sales, stage: qualify}",
    to: str = "{receiver: r, stage: nurture}",
) -> str:
    return CONTRACT.format(id=id, version=version, status=status, from_=from_, to=to) + more


def receiver(
    more: str = "", *, id: str = "r", owners: str = "[{name: Dana, contact: d@example.com}]"
) -> str:
    return RECEIVER.format(id=id, owners=owners) + more


def linted(tmp_path: Path, *documents: str) -> list[str]:
    """The problems of documents in one file, as printed, but for what is of a later day."""
    (tmp_path / "c.yaml").write_text("---\n".join(documents))
    told = lint(load([tmp_path / "c.yaml"]), TODAY)
    return [str(p).replace(f"{tmp_path}/", "") for p in told]


# --- one contract --------------------------------------------------------------------------------

WHOLE = """\
fields:
  - {name: budget, type: number, from: [crm.budget, crm, budget]}
  - {name: intent, translate: {hot: high}, stable: true}
hold_on: [context_dropped, rule_failed, receiver_silent]
severity: {rejected: warning, not_accepted: info, handoff_missing: error, untranslatable: error}
rules: [{name: paid, expr: context.budget > 0, message: a lead has a budget}]
accept_within: PT12H
complete_within: P1D
release_within: PT4H
"""
RULES = """\
rules: [
  {name: x, expr: 'context.a.b > context.b || "c-d" in context', message: m},
  {name: y, expr: 1 < 2, message: m}]
fields: [{name: a}]
"""
CONSTANT = (
    "c.yaml:12: warning: rules[1].expr: reads nothing of the context, so it says the same of every "
    "handoff; read a field: context.<name>"
)
EXPLICIT = "accept: explicit\naccept_within: PT4H\ncomplete_within: PT4H\n"


@pytest.mark.parametrize(
    ("text", "more", "told"),
    [
        # What has nothing to be told of.
        (contract(), "", []),
        (contract(WHOLE), "checks_every: PT12H\nconsumer_group: g\n", []),
        (contract("hold_on: any\nrelease_within: PT1H\n"), "", []),
        (contract(EXPLICIT, to="{receiver: r}"), "", []),
        (contract(EXPLICIT, to="{receiver: r, stage: qualify}"), "", []),
        (contract("accept: {tools: crm}\n", to="{receiver: r, stage: qualify}"), "", []),
        (contract(from_="{team: a, stage: '*'}", to="{receiver: r, stage: x}"), "", []),
        (contract("fields: [{name: a, from: [crm.a, crm.b, crm.ab, crm]}]\n"), "", []),
        # Deadlines.
        (
            contract("accept_within: PT4H\n"),
            "checks_every: PT12H\n",
            [
                "c.yaml:10: accept_within: PT4H is shorter than PT12H, the time after which 'r' "
                "looks again (checks_every): the deadline would pass before anyone has seen the "
                "handoff; allow more time, or agree with the team to look more often"
            ],
        ),
        (
            contract("complete_within: PT4H\n"),
            "checks_every: PT12H\n",
            [
                "c.yaml:10: complete_within: PT4H is shorter than PT12H, the time after which 'r' "
                "looks again (checks_every): the deadline would pass before anyone has seen the "
                "handoff; allow more time, or agree with the team to look more often"
            ],
        ),
        (
            contract("accept_within: PT4H\ncomplete_within: PT2H\n"),
            "",
            [
                "c.yaml:11: complete_within: PT2H is shorter than PT4H, the time to accept "
                "(accept_within), and both count from sending: the work would be due before anyone "
                "has to take it on; allow more time to complete, or less to accept"
            ],
        ),
        (
            contract("hold_on: []\nrelease_within: PT2H\n"),
            "",
            [
                "c.yaml:11: warning: release_within: this deadline counts from holding, and no "
                "kind in hold_on ever holds a package; name the kinds that hold, or leave "
                "release_within out"
            ],
        ),
        # What accepts.
        (
            contract("accept_within: PT4H\n", to="{receiver: r}"),
            "",
            [
                "c.yaml:10: warning: accept_within: without to.stage no output of the receiver is "
                "known for one: only an ack keeps this deadline; name the stage that the receiver "
                "runs (to.stage), or say accept: explicit"
            ],
        ),
        (
            contract("accept: {tools: [crm.open]}\n", to="{receiver: r}"),
            "",
            [
                "c.yaml:10: warning: accept: these are the tools whose outputs at to.stage accept, "
                "and there is no to.stage: only an ack accepts; name the stage that the receiver "
                "runs (to.stage), or say accept: explicit"
            ],
        ),
        (
            contract(to="{receiver: r, stage: qualify}"),
            "",
            [
                "c.yaml:9: warning: to.stage: the handoff comes from the stage 'qualify' too: the "
                "sender's own next output there accepts it; name the stage that the receiver runs, "
                "or say accept: explicit"
            ],
        ),
        # Paths.
        (
            contract("fields:\n- name: t\n  from: [log, crm, crm.note,\n    crm.log.text]\n"),
            "",
            [
                "c.yaml:12: warning: fields[0].from[2]: 'crm.note' is never read out of 'crm', "
                "which stands before it and has a value whenever this one has; put the longer "
                "path first, or remove it",
                "c.yaml:13: warning: fields[0].from[3]: 'crm.log.text' is never read out of 'crm', "
                "which stands before it and has a value whenever this one has; put the longer "
                "path first, or remove it",
            ],
        ),
        (
            contract(f"fields:\n- {{name: a, from: ['x[{'9' * 19}]']}}\n"),
            "",
            [
                "c.yaml:11: warning: fields[0].from[0]: this index has more than 18 digits, and no "
                "list is so long, so only a name that is spelled so is read; write a smaller one, "
                "or the name of a member in quotes\n  x[9999999999999999999]\n   ^",
            ],
        ),
        (
            contract(
                "fields:\n- {name: a, from: ['x[0', \"'y\", 'z[0].b']}\n- name: b[]\n"
                "repeat: {by: ['context.z[k]'], threshold: 2, within: P1D, receiver: r}\n"
            ),
            "",
            [
                "c.yaml:11: warning: fields[0].from[0]: this bracket is no element of a list, so "
                "only a name that is spelled so is read; write [0] for an element, [name=text] for "
                "the one that has this member, or the name in quotes\n  x[0\n   ^",
                "c.yaml:11: warning: fields[0].from[1]: this quote is not closed, so only a name "
                "that is spelled so is read; close it\n  'y\n  ^",
                "c.yaml:12: warning: fields[1].from[0]: this bracket is no element of a list, so "
                "only a name that is spelled so is read; write [0] for an element, [name=text] for "
                "the one that has this member, or the name in quotes\n  b[]\n   ^",
                "c.yaml:13: warning: repeat.by[0]: this bracket is no element of a list, so "
                "only a name that is spelled so is read; write [0] for an element, [name=text] for "
                "the one that has this member, or the name in quotes\n  z[k]\n   ^",
                "c.yaml:13: warning: repeat.receiver: the receiver 'r' has no queue; give it one, "
                "or name another; until then no pattern reaches it",
            ],
        ),
        # Terms and expressions.
        (
            contract(
                "fields:\n"
                "- {name: a, type: [integer, string], translate: {hot: 1, cold: 2.5, x: y}}\n"
                "- {name: b, schema: {enum: [go, stop]}, translate: {'1': go, '0': halt}}\n"
            ),
            "",
            [
                f"c.yaml:{line}: warning: fields[{line - 11}].translate.{term}: the term that this "
                "becomes has not the field's own type or schema: every handoff with it is "
                "context_malformed; correct the term, or the type"
                for line, term in ((11, "cold"), (12, "0"))
            ],
        ),
        (
            contract(
                "fields:\n"
                "  - name: a\n"
                "    schema: {pattern: '^([a-z]{1,300}){1,300}!$'}\n"
                f"    translate: {{long: {'a' * 2000}, x: {'a' * 100}, y: {'b' * 100}}}\n"
            ),
            "",
            [
                "c.yaml:13: warning: fields[0].translate: 1 of its terms was not checked against "
                "the schema, which would take too long: one that it refuses makes each handoff "
                "with it context_malformed; simplify the schema: fewer repetitions ({1,1000}) in "
                "patterns, fewer references",
                "c.yaml:13: warning: fields[0].translate.long: the term that this becomes is "
                "longer (2,002 bytes) than any that the schema judges (1,486): every handoff with "
                "it is context_malformed; shorten the term, or simplify the schema",
                "c.yaml:13: warning: fields[0].translate.x: the term that this becomes has not "
                "the field's own type or schema: every handoff with it is context_malformed; "
                "correct the term, or the type",
            ],
        ),
        (
            contract(
                "fields:\n"
                + "".join(
                    f"  - {{name: f{n}, schema: {{pattern: '^([a-z]{{1,300}}){{1,300}}!$'}}, "
                    f"translate: {{x: {'a' * 100}}}}}\n"
                    for n in range(4)
                )
            ),
            "",
            [
                *(
                    f"c.yaml:{11 + n}: warning: fields[{n}].translate.x: the term that this "
                    "becomes has not the field's own type or schema: every handoff with it is "
                    "context_malformed; correct the term, or the type"
                    for n in range(1)
                ),
                *(
                    f"c.yaml:{11 + n}: warning: fields[{n}].translate: 1 of its terms was not "
                    "checked against the schema, which would take too long: one that it refuses "
                    "makes each handoff with it context_malformed; simplify the schema: fewer "
                    "repetitions ({1,1000}) in patterns, fewer references"
                    for n in range(1, 4)
                ),
            ],
        ),
        (contract("when: 'true'\n"), "", []),
        (
            contract("when: 1 / 0 == 1\n"),
            "",
            [
                "c.yaml:10: warning: when: is never true, so the processor never starts a handoff; "
                "read the context: context.<name>"
            ],
        ),
        (contract(RULES), "", [CONSTANT]),
        (
            contract("extra: strip\n" + RULES),
            "",
            [
                "c.yaml:12: warning: rules[0].expr: reads b, c-d, declared by no field, and extra: "
                "strip drops that; declare it as a field (required: false, if need be)",
                CONSTANT.replace(":12:", ":13:"),
            ],
        ),
        (
            contract("when: has(context.z)\n" + RULES),
            "",
            [
                "c.yaml:12: warning: rules[0].expr: reads b, c-d, declared by no field, and a "
                "handoff that the processor starts (when) carries declared fields only; declare it "
                "as a field (required: false, if need be)",
                CONSTANT.replace(":12:", ":13:"),
            ],
        ),
        # Kinds.
        (
            contract("hold_on:\n- owner_missing\n- rule_failed\n- rejected\n"),
            "",
            [
                "c.yaml:12: warning: hold_on[1]: rule_failed never holds a package on this "
                "contract: the contract has no rules; remove it",
                "c.yaml:13: warning: hold_on[2]: rejected never holds a package on this contract: "
                "it opens when the package has been sent; remove it",
            ],
        ),
        (
            contract("severity: {receiver_silent: error}\n"),
            "",
            [
                "c.yaml:10: warning: severity.receiver_silent: receiver_silent never opens on this "
                "contract: the receiver 'r' has no consumer_group that could be watched; remove it"
            ],
        ),
    ],
)
def test_one_contract(tmp_path: Path, text: str, more: str, told: list[str]) -> None:
    assert linted(tmp_path, text, receiver(more)) == told


NEVER_HOLD = {
    "context_reentered",
    "contract_missing",
    "handoff_missing",
    "handoff_loop",
    "held_too_long",
    "not_accepted",
    "not_completed",
    "rejected",
    "source_silent",
    "unknown_handoff",
    "link_refused",
}
# Of a contract with everything, only these can never open.
NEVER_OPEN = {"contract_missing", "unknown_handoff", "link_refused"}


@pytest.mark.parametrize("kind", VIOLATION_KINDS)
def test_a_kind_that_can_happen_is_not_told(tmp_path: Path, kind: str) -> None:
    """On a contract that has all that any kind takes, and on one that has nothing of it."""
    watched = receiver("consumer_group: g\n")
    kept = "\n".join(
        line for line in WHOLE.splitlines() if "hold_on" not in line and "sev" not in line
    )
    told = linted(tmp_path, contract(f"{kept}\nhold_on: {kind}\n"), watched)
    told = [line for line in told if "release_within" not in line]
    assert [f"{kind} never holds" in line for line in told] == [True] * (kind in NEVER_HOLD)
    told = linted(tmp_path, contract(f"{kept}\nseverity: {{{kind}: info}}\n"), watched)
    if kind == "rule_failed":
        assert len(told) == 1
        assert "the severity that stands with the rule" in told[0]
        return
    assert [f"{kind} never opens" in line for line in told] == [True] * (kind in NEVER_OPEN)
    bare = linted(
        tmp_path, contract(f"severity: {{{kind}: info}}\n", to="{receiver: r}"), receiver()
    )
    always = {"receiver_mismatch", "receiver_missing", "owner_missing", "rejected"}
    assert len(bare) == (kind not in always)


# --- documents against each other ----------------------------------------------------------------

REPEAT = "repeat: {by: context.a, threshold: 2, within: P1D, receiver: gone}\n"
RETIRED = "status: retired\n"


def unknown(line: int, id: str) -> str:
    return (
        f"c.yaml:{line}: warning: to.receiver: the receiver {id!r} is not known here; register it, "
        "or correct its id; until then packages are held"
    )


@pytest.mark.parametrize(
    ("documents", "told"),
    [
        ([contract()], [unknown(9, "r")]),
        ([contract(status="trial")], [unknown(9, "r")]),
        ([contract(status="draft")], [unknown(9, "r")]),
        ([contract(status="retired")], []),
        (
            [contract(), receiver(RETIRED)],
            [
                "c.yaml:9: warning: to.receiver: the receiver 'r' is retired; name another; "
                "packages to a retired receiver are held"
            ],
        ),
        (
            [contract(REPEAT), receiver()],
            [
                "c.yaml:10: warning: repeat.receiver: the receiver 'gone' is not known here; "
                "register the receiver, or name another; until then no pattern reaches it"
            ],
        ),
        (
            [contract(REPEAT), receiver(RETIRED, id="gone"), receiver()],
            [
                "c.yaml:10: warning: repeat.receiver: the receiver 'gone' is retired; name "
                "another; no pattern reaches this one"
            ],
        ),
        (
            [contract(REPEAT), receiver(id="gone"), receiver()],
            [
                "c.yaml:10: warning: repeat.receiver: the receiver 'gone' has no queue; give it "
                "one, or name another; until then no pattern reaches it"
            ],
        ),
        ([contract(REPEAT), receiver("queue: q\n", id="gone"), receiver()], []),
        # A version that a later one has replaced cannot be mended any more, and judges nothing new.
        ([contract(to="{receiver: x}"), contract(version=2), receiver()], []),
        ([contract(to="{receiver: x}", status="deprecated"), contract(version=2), receiver()], []),
        (
            [contract(), contract(version=2, status="deprecated", to="{receiver: x}"), receiver()],
            [],
        ),
        (
            [contract(), contract(version=2, status="trial", to="{receiver: x}"), receiver()],
            [unknown(19, "x")],
        ),
    ],
)
def test_receivers_must_be_known(tmp_path: Path, documents: list[str], told: list[str]) -> None:
    assert linted(tmp_path, *documents) == told


def test_of_several_on_trial_the_highest_judges(tmp_path: Path) -> None:
    tried = [contract(version=v, status="trial", to="{receiver: gone}") for v in (1, 3)]
    tried += [contract(version=2, status="trial"), contract(version=4), receiver()]
    in_vain = (
        "c.yaml:{}: warning: status: version 3 of 'c' is on trial too, and only the highest one "
        "judges; retire this one"
    )
    assert linted(tmp_path, *tried) == [
        in_vain.format(4),
        unknown(19, "gone"),
        in_vain.format(24),
    ]


@pytest.mark.parametrize(
    ("until", "told"), [("2027-03-01", 0), ("2027-02-28", 1), (None, 0), ("nobody", 1)]
)
def test_a_receiver_needs_an_owner_in_force(tmp_path: Path, until: str | None, told: int) -> None:
    person = "{name: D, contact: d" + (f", until: {until}" if until else "") + "}"
    owners = "[]" if until == "nobody" else f"[{person}]"
    assert linted(tmp_path, receiver(owners=owners)) == [
        "c.yaml:4: warning: owners: the receiver 'r' has no owner in force on 2027-03-01; "
        "name a person; until then packages are held (owner_missing)"
    ] * bool(told)
    assert linted(tmp_path, receiver(RETIRED, owners=owners)) == []


def nobody(line: int, stages: str) -> str:
    return (
        f"c.yaml:{line}: warning: from: nothing says who runs {stages} of 'lead': no "
        "contract names its team, and no receiver with an owner in force runs it; name the team "
        "(from.team): it is told what becomes of its handoffs"
    )


@pytest.mark.parametrize(
    ("documents", "told"),
    [
        ([contract(from_="{stage: qualify}")], [nobody(8, "the stage 'qualify'")]),
        ([contract(from_="{stage: [a, b]}")], [nobody(8, "the stages 'a' and 'b'")]),
        ([contract(from_="{stage: '*'}")], []),
        ([contract(from_="{stage: a}", status="draft")], []),
        # Another contract, or the receiver that works there, says it.
        ([contract(from_="{stage: a}"), contract(id="d", from_="{team: t, stage: [a, b]}")], []),
        ([contract(from_="{stage: a}"), contract(id="d", from_="{team: t, stage: '*'}")], []),
        ([contract(), contract(id="d", from_="{stage: nurture}", to="{receiver: r}")], []),
        # Each stage once.
        (
            [
                contract(from_="{stage: a}"),
                contract(id="d", from_="{stage: a}", to="{receiver: s}"),
            ],
            [nobody(8, "the stage 'a'")],
        ),
    ],
)
def test_stages_need_somebody(tmp_path: Path, documents: list[str], told: list[str]) -> None:
    assert linted(tmp_path, *documents, receiver(), receiver(id="s")) == told


def test_a_stage_without_an_owner_is_told_with_its_receiver(tmp_path: Path) -> None:
    first = "c.yaml:14: warning: owners: the receiver 'r' has no owner in force on 2027-03-01"
    (told,) = linted(tmp_path, contract(), receiver(owners="[]"))
    assert told.startswith(first + ", so nobody owns the stage 'nurture' of 'lead'; name a person")
    leaves = contract(id="d", from_="{team: marketing, stage: nurture}", to="{receiver: s}")
    (told,) = linted(tmp_path, contract(), receiver(owners="[]"), leaves, receiver(id="s"))
    assert told.startswith(first + "; name a person")


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("s", "s", 1),
        ("[s, t]", "[t, u]", 1),
        ("'*'", "'*'", 1),
        ("s", "'*'", 0),
        ("s", "[s, t]", 0),
        ("s", "t", 0),
    ],
)
def test_contracts_that_hide_each_other(tmp_path: Path, first: str, second: str, told: int) -> None:
    def both(more: str = "", status: str = "active", other: str = "") -> list[str]:
        a = contract(more, id="a", from_=f"{{team: x, stage: {first}}}")
        b = contract(other, id="b", from_=f"{{team: x, stage: {second}}}", status=status)
        return linted(tmp_path, b, a, receiver())

    found = both()
    assert ["from.stage: the contract 'a' covers" in line for line in found] == [True] * told
    assert all("takes 'a'" in line for line in found)
    # One that is on its way in or out hides nothing, and the processor itself knows which `when`.
    assert both(status="trial") == both(status="draft") == both(status="deprecated") == []
    when = "when: context.score > 1\n"
    assert both(when, other=when) == []
    assert len(both(when)) == told


def test_versions_of_one_contract_do_not_hide_each_other(tmp_path: Path) -> None:
    assert linted(tmp_path, contract(), contract(version=2), receiver()) == []


def test_the_examples_are_without_a_fault() -> None:
    """Those in the pages are judged with their pages."""
    assert lint(load([ROOT / "examples"]), TODAY) == []
    told = lint(load([ROOT / "console" / "demo"]), TODAY)
    # Its story: the queue that nobody owns.
    assert [p.path for p in told] == ["owners"]


def test_a_path_that_leads_nowhere_in_a_recording_is_hinted_at(tmp_path: Path) -> None:
    contract = PLAIN | {
        "id": "c",
        "workflow": "w",
        "fields": [
            {"name": "first", "from": "photos[0].url"},
            {"name": "ninth", "from": ["photos[9].url", "photos[8].url"]},
            {"name": "size", "from": "custom[id=7].value"},
            {"name": "colour", "from": "custom[id=8].value"},
            {"name": "at", "from": "meta.time.at"},
            {"name": "plain"},
        ],
    }
    other = contract | {"id": "d", "workflow": "unseen"}
    (tmp_path / "c.yaml").write_text(f"{json.dumps(contract)}\n---\n{json.dumps(other)}\n")
    photos = [{"url": "a"}] * 9
    said = {"task_id": "1", "stage": "s", "tool": "x", "occurred_at": "2026-03-01T09:00:00Z"}
    lines = [
        said | {"id": "1", "workflow": "w", "context": {"photos": photos}},
        said | {"id": "2", "workflow": "w", "context": {"custom": [{"id": 7, "value": None}]}},
        said | {"id": "3", "workflow": "other", "context": {"meta": {"time": {"at": 1}}}},
        {"nothing": "of ours"},
    ]
    recording = tmp_path / "r.jsonl"
    recording.write_text("\n".join(map(json.dumps, lines)))
    arguments = ["contracts", "lint", str(tmp_path / "c.yaml")]
    without = CliRunner().invoke(main, arguments)
    found = CliRunner().invoke(main, [*arguments, "--against", str(recording)])
    assert found.exit_code == without.exit_code == 0, found.output
    hints = [line for line in found.stdout.splitlines() if "leads nowhere" in line]
    assert [line.partition("hint: ")[2] for line in hints] == [
        "fields[1]: the path 'photos[9].url' leads nowhere, though 'photos' came once "
        "(outputs of 'w': 2); correct it, or record more",
        "fields[3]: the path 'custom[id=8].value' leads nowhere, though 'custom' came once "
        "(outputs of 'w': 2); correct it, or record more",
        "fields[4]: the path 'meta.time.at' leads nowhere: 'meta' never came "
        "(outputs of 'w': 2); correct it, or record more",
    ]
    assert "leads nowhere" not in without.stdout
    assert "workflow: the recording has no output of the workflow 'unseen'" in found.stdout
    missing = CliRunner().invoke(main, [*arguments, "--against", str(tmp_path / "none")])
    assert missing.exit_code == 2


def test_an_alias_that_two_receivers_have_is_a_warning(tmp_path: Path) -> None:
    owner = {"name": "N", "contact": "n"}
    receivers = [
        {"kind": "Receiver", "id": id_, "team": id_, "aliases": aliases, "owners": [owner]}
        for id_, aliases in (
            ("desk", ["Front", "DESK", "Küche"]),
            ("night", ["Front", "Kasse"]),
            ("lab", ["desk", "Labor", "FRONT"]),
        )
    ]
    path = tmp_path / "r.yaml"
    path.write_text("\n---\n".join(map(json.dumps, receivers)))
    found = CliRunner().invoke(main, ["contracts", "lint", str(path)])
    assert found.exit_code == 0
    assert [line.partition("warning: ")[2] for line in found.stdout.splitlines()[:-1]] == [
        "aliases[0]: 'Front' is an alias of 'night', too, so it leads to none of them; "
        "leave the name to one receiver",
        "aliases[0]: 'Front' is an alias of 'desk', too, so it leads to none of them; "
        "leave the name to one receiver",
        "aliases[0]: 'desk' is the id of another receiver, which gets what is sent there; "
        "leave the name to one receiver",
    ]


def test_a_recording_of_a_workflow_without_nested_paths_is_not_said_to_lack_it(
    tmp_path: Path,
) -> None:
    contract = tmp_path / "c.yaml"
    contract.write_text(json.dumps(PLAIN | {"workflow": "w", "fields": [{"name": "plain"}]}))
    line = {"id": "1", "task_id": "1", "workflow": "w", "stage": "s", "tool": "x"}
    recording = tmp_path / "r.jsonl"
    recording.write_text(
        json.dumps(line | {"occurred_at": "2026-03-01T09:00:00Z", "context": {"plain": 1}})
    )
    found = CliRunner().invoke(
        main, ["contracts", "lint", str(contract), "--against", str(recording)]
    )
    assert found.exit_code == 0, found.output
    assert "no output of the workflow" not in found.stdout


LINE = '{"id": "1", "task_id": "t", "context": {}}'
NO_CONTRACT = "is a recording, one JSON object a line, and no contract, receiver or source; give"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{LINE}\n", NO_CONTRACT),
        (f"\n{LINE}\n{LINE}\n", NO_CONTRACT),
        ('{"topic": "handoff.acks", "value": {}}', NO_CONTRACT),
        ('{"a": 1}\n\n{"b": 2}\n', NO_CONTRACT),
        ('{"a": 1}\n{"b": 2\n', "expected '<document start>', but found '{'; correct the YAML"),
        ('{"a": 1}', "'kind' is missing"),
        ("{\n}\n{\n}", "but found '{'; correct the YAML here or just above"),
    ],
)
def test_a_recording_in_place_of_contracts_is_one_sentence(
    tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text(text)
    found = CliRunner().invoke(main, ["contracts", "lint", str(path)])
    assert found.exit_code == 2
    assert says in found.stdout
    assert len(found.stdout.splitlines()) == 2
    path.write_bytes(gzip.compress(text.encode()))
    found = CliRunner().invoke(main, ["contracts", "lint", str(path)])
    assert f"{path}: is compressed (gzip); give the YAML file" in found.stdout


def test_a_contract_may_be_json_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    receiver = {
        "kind": "Receiver",
        "id": "a",
        "team": "t",
        "owners": [{"name": "N", "contact": "n"}],
    }
    path.write_text(json.dumps(receiver) + "\n")
    assert "0 errors" in CliRunner().invoke(main, ["contracts", "lint", str(path)]).stdout


def test_contracts_in_place_of_a_recording_are_one_sentence() -> None:
    path = str(Path(__file__).parents[1] / "console" / "demo" / "sales.yaml")
    found = CliRunner().invoke(main, ["contracts", "lint", path, "--against", path])
    assert found.exit_code == 2
    assert f"{path} is no recording: none of its lines is JSON; --against takes" in found.stderr
