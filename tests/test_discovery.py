"""Drafts for undocumented edges: what they say, and that any name survives the way into YAML."""

import datetime as dt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from console.discovery import Draft, drafts
from console.yaml_text import scalar
from schemas.documents import UNKNOWN, HandoffContract
from schemas.lint import lint
from schemas.loading import load
from schemas.records import Edge
from tests.edges import handoff, move

# JSON text has no lone surrogates.
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def one(edge: Edge) -> Draft:
    found = drafts([edge], ())
    assert not found.unnameable
    return found.made[0]


def loaded(made: list[Draft], directory: Path) -> tuple[HandoffContract, ...]:
    """The drafts as `contracts lint` reads them, from one stream; none may have an error."""
    path = directory / "drafts.yaml"
    path.write_text("---\n".join(draft.text for draft in made), encoding="utf-8")
    found = load([path])
    problems = lint(found, dt.date(2026, 3, 1))
    assert [str(problem) for problem in problems if problem.level == "error"] == []
    return found.contracts


def test_a_move_into_another_workflow_becomes_a_draft_that_names_both(tmp_path: Path) -> None:
    edge = move("ticket/answer", "triage", 30, workflow="issue", from_workflow="ticket")
    (contract,) = loaded([one(edge)], tmp_path)
    assert contract.workflow == "ticket"
    assert contract.from_.stage == ("answer",)
    assert (contract.to.workflow, contract.to.stage) == ("issue", "triage")
    within = move("ticket/answer", "triage", 30, workflow="issue")  # a stage that is spelled so
    (contract,) = loaded([one(within)], tmp_path)
    assert (contract.workflow, contract.from_.stage) == ("issue", ("ticket/answer",))
    assert contract.to.workflow is None


def test_a_move_becomes_a_draft_with_its_evidence(tmp_path: Path) -> None:
    edge = move(
        "qualify",
        "nurture",
        1200,
        tasks=1100,
        fields={"email": 1.0, "score": 0.95, "notes": 0.9499, "tags": 0.002},
        types={
            "email": ["string"],
            "score": ["integer", "number"],
            "notes": ["string", "object"],
            "tags": ["array"],
        },
        counts={"bare": 1190, "ping_pongs": 7, "loops": 9},
        workflow="inbound-lead",
    )
    draft = one(edge)
    assert draft.id == "inbound-lead-qualify-to-nurture"
    assert draft.text == (
        """\
# Observed: 1,200 times moved, 1,100 tasks, 2026-03-01 to 2026-03-05.
# Without any handoff: 1,190 of 1,200.
# Back to where the task just came from: 7; to a stage before: 9.
kind: HandoffContract
id: inbound-lead-qualify-to-nurture
version: 1
status: draft
owner: UNKNOWN  # name a person: {name: ..., contact: ...}
action: "EDIT: say what is to be done with what comes from the stage qualify to the stage nurture."
workflow: inbound-lead
from:
  stage: qualify
to:
  receiver: nurture  # a placeholder: no handoff named one
  stage: nurture
fields:
  - name: email  # carried by 100 %
    type: string
    required: true
  - name: score  # carried by 95 %
    type: number
    required: true
  - name: notes  # carried by 94.9 %
    type: [string, object]
    required: false
  - name: tags  # carried by 0.2 %
    type: array
    required: false
"""
    )
    (contract,) = loaded([draft], tmp_path)
    assert contract.owner.name == UNKNOWN
    assert contract.status == "draft"


def test_a_handoff_becomes_a_draft_to_its_receiver(tmp_path: Path) -> None:
    edges = [
        handoff("agent", "desk", 48, documented=False, fields={"summary": 1.0}),
        handoff("agent", "The Desk!", 10, documented=False),
    ]
    made = drafts(edges, ()).made
    known, unknown = loaded(made, tmp_path)
    assert (known.to.receiver, known.to.stage) == ("desk", None)
    assert unknown.to.receiver == "the-desk"
    assert 'the senders write "The Desk!"' in made[1].text


def test_long_names_stay_whole_and_only_ids_are_cut(tmp_path: Path) -> None:
    long = "step " * 100
    edges = [move(long, long + "b", 1, workflow=long), handoff("a", long, 1, documented=False)]
    made = drafts(edges, ()).made
    moved, handed = loaded(made, tmp_path)
    assert (moved.workflow, moved.from_.stage, moved.to.stage) == (long, (long,), long + "b")
    assert all(len(name) <= 100 for each in (moved, handed) for name in (each.id, each.to.receiver))


def test_documented_edges_have_no_draft_and_ids_are_apart() -> None:
    edges = [
        move("a", "b", 3),
        move("A", "b!", 2),
        move("b", "c", 9, documented=True),
        move("é", "ü", 1),
    ]
    made, _, unnameable = drafts(edges, ["w-a-to-b", "W-A-to-B-2"])
    assert [draft.id for draft in made] == ["w-a-to-b-3", "w-a-to-b-4", "w-stage-to-move"]
    assert unnameable == []


@pytest.mark.parametrize(
    "edge",
    [move("*", "b", 1), move(" ", "b", 1), move("a", "", 1), move("a", "字" * 171, 1)],
)
def test_an_edge_that_no_contract_can_name_has_none(edge: Edge) -> None:
    assert drafts([edge], ()) == ([], 0, [edge])


def test_a_field_whose_name_is_no_path_is_told_in_a_comment(tmp_path: Path) -> None:
    draft = one(move("a", "b", 1, fields={"x..y": 1.0, "crm.id": 1.0, "字" * 171: 1.0}))
    (contract,) = loaded([draft], tmp_path)
    assert [field.name for field in contract.fields] == ["crm.id"]
    assert '# Carried too, under a name that no contract can hold: "x..y"' in draft.text


@given(NAMES)
def test_any_text_comes_back_from_its_scalar(text: str) -> None:
    quoted = scalar(text)
    assert len(quoted.splitlines()) <= 1
    assert YAML(typ="safe", pure=True).load(f"a: {quoted}  # {quoted}\n") == {"a": text}


# So few that none are drafted together.
@given(st.lists(st.tuples(NAMES, NAMES, NAMES, NAMES), max_size=3), st.booleans())
def test_any_names_become_drafts_that_lint(
    tmp_path_factory: pytest.TempPathFactory, names: list[tuple[str, str, str, str]], moved: bool
) -> None:
    kind = move if moved else handoff
    edges = [
        kind(from_, to, 1, workflow=workflow, documented=False, fields={field: 1.0})
        for workflow, from_, to, field in names
    ]
    made, _, unnameable = drafts(edges, (), None)
    assert len(made) + len(unnameable) == len(edges)
    if made:
        contracts = loaded(made, tmp_path_factory.mktemp("drafts"))
        there = [edge for edge in edges if edge not in unnameable]
        assert [c.workflow for c in contracts] == [edge.workflow for edge in there]
        assert [c.from_.stage for c in contracts] == [(edge.from_,) for edge in there]


def test_few_drafts_cover_most_moves(tmp_path: Path) -> None:
    """The most travelled first; many stages into one place are one draft; what is rare is left."""
    wide = [move(f"s{n}", "desk", 100 * n, fields={"serial": 0.5}) for n in range(1, 6)]
    rare = [move("x", f"y{n}", 1) for n in range(20)]
    pair = move("shop", "ship", 400)
    found = drafts([*rare, pair, *wide], ())
    assert [(draft.id, draft.moves) for draft in found.made] == [
        ("w-any-to-desk", 1500),
        ("w-shop-to-ship", 400),
    ]
    assert (found.left, round(found.covered, 3)) == (20, 0.99)
    assert "# From 5 stages, most often from s5 (500 of 1,500)." in found.made[0].text
    (any_stage, _) = loaded(found.made, tmp_path)
    assert any_stage.from_.stage == ("*",)
    assert [field.name for field in any_stage.fields] == ["serial"]
    assert [len(drafts([*rare, *wide], (), most, 1.0).made) for most in (1, 7, None)] == [1, 7, 21]
    assert drafts([], ()).covered == 1.0


def test_no_more_drafts_than_a_person_reads() -> None:
    found = drafts([move("a", f"b{n}", 1) for n in range(200)], ())
    assert (len(found.made), found.covered) == (50, 0.25)
