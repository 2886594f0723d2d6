"""The six questions: what each goes by, at its threshold, and what is said of it."""

import datetime as dt

import pytest

from console.audit import Audit, AuditAnswer, audit
from console.commands.audit import escaped, page
from schemas.documents import Receiver, parse
from schemas.records import Edge
from tests.edges import handoff, move

TODAY = dt.date(2026, 3, 5)
FORMAT, CARRIED, OWNER, STALLS, MAPPED, STRUCTURED = range(6)


def receiver(name: str, **more: object) -> Receiver:
    owners = [{"name": "Dana Reyes", "contact": "dana@example.com"}]
    found = parse({"kind": "Receiver", "id": name, "team": "t", "owners": owners} | more)
    assert isinstance(found, Receiver)
    return found


DESK = receiver("desk")


def of(*edges: Edge, receivers: tuple[Receiver, ...] = (DESK,)) -> Audit:
    return audit(edges, 0, receivers, TODAY)


def answers(*edges: Edge, receivers: tuple[Receiver, ...] = (DESK,)) -> list[str]:
    return [each.answer for each in of(*edges, receivers=receivers).answers]


def one(number: int, *edges: Edge) -> AuditAnswer:
    return of(*edges).answers[number]


def test_a_fresh_system_says_that_it_does_not_know() -> None:
    told = of(receivers=())
    assert [each.answer for each in told.answers] == ["unknown"] * 6
    assert told.headline.startswith("Nothing was observed yet")
    assert told.no == 0


def test_all_is_well_where_every_handoff_is_whole() -> None:
    told = of(handoff("agent", "desk", 100))
    assert [each.answer for each in told.answers] == ["yes"] * 6
    assert told.headline == "6 of 6 answers are yes, and none is no."
    assert [each.worst for each in told.answers] == [[]] * 6


def test_a_covered_move_is_counted_once_with_its_handoff() -> None:
    covered = move("agent", "desk-work", 100, {"bare": 0, "uncovered": 0}, documented=True)
    told = of(handoff("agent", "desk", 100), covered)
    assert told.crossings == 100
    assert [each.answer for each in told.answers] == ["yes"] * 6


def test_a_move_that_a_contract_made_a_handoff_of_is_covered_and_not_structured() -> None:
    implicit = handoff("agent", "desk", 100, {"declared": 0, "implicit": 100})
    covered = move("agent", "desk-work", 100, {"bare": 100, "uncovered": 0}, documented=True)
    told = of(implicit, covered)
    assert told.crossings == 100
    assert [each.answer for each in told.answers] == [*["yes"] * 5, "no"]
    assert told.headline.startswith("1 of 6 answers is no. Begin here: let the tools declare")
    assert told.answers[STRUCTURED].worst[0].why == "100 of 100 handoffs that nobody declared"


def test_one_handoff_is_counted_as_one() -> None:
    told = of(handoff("agent", "desk", 1, {"declared": 1}))
    assert told.answers[STRUCTURED].evidence.startswith("1 handoff was declared and 0 triggered")


def test_bare_moves_alone_are_no_to_everything_and_that_is_the_headline() -> None:
    told = of(move("a", "b", 30), move("b", "c", 10), receivers=())
    assert told.no == 6
    assert told.headline.startswith("6 of 6 answers are no: handoffs are not under control")
    assert "`handoff discover`" in told.headline
    worst = told.answers[FORMAT].worst
    assert [(edge.from_, edge.to, edge.why) for edge in worst] == [
        ("a", "b", "30 of 30 moves without any handoff"),
        ("b", "c", "10 of 10 moves without any handoff"),
    ]


def test_two_answers_that_are_no_are_not_the_headline_yet() -> None:
    told = of(
        handoff("agent", "desk", 100, {"lost": 5, "required": 20, "promised": 0}, fidelity=0.5)
    )
    assert told.no == 2
    assert told.headline.startswith("2 of 6 answers are no. Begin here:")


@pytest.mark.parametrize(
    ("number", "just", "below"),
    [
        (FORMAT, {"judged": 95}, {"judged": 94}),
        (OWNER, {"owned": 99}, {"owned": 98}),
        (STALLS, {"promised": 90}, {"promised": 89}),
        (STALLS, {"accepted": 1}, {"accepted": 0}),
        (CARRIED, {"reentered": 1}, {"reentered": 2}),
        (CARRIED, {"judged": 50}, {"judged": 49}),
        (STRUCTURED, {"declared": 95}, {"declared": 94}),
        (STRUCTURED, {"declared": 90, "triggered": 5}, {"declared": 90, "triggered": 4}),
    ],
)
def test_a_count_at_its_threshold(number: int, just: dict[str, int], below: dict[str, int]) -> None:
    assert one(number, handoff("agent", "desk", 100, just)).answer == "yes"
    assert one(number, handoff("agent", "desk", 100, below)).answer == "no"


def test_fidelity_is_the_mean_over_all_handoffs_on_a_contract() -> None:
    poor = handoff("agent", "desk", 10, {"required": 40, "rebuilt": 10, "lost": 20}, fidelity=0.0)
    assert one(CARRIED, handoff("x", "desk", 90), poor).answer == "yes"
    answer = one(CARRIED, handoff("x", "desk", 89), poor)
    assert answer.answer == "no"
    assert answer.figures["fidelity"] == pytest.approx(89 / 99)
    assert answer.figures["rebuilt_share"] == 0.25
    assert answer.figures["lost_share"] == 0.5
    assert [edge.why for edge in answer.worst] == ["fidelity 0% over 10 handoffs, 20 fields lost"]


@pytest.mark.parametrize(
    "there",
    [
        (),
        (receiver("desk", status="retired"),),
        (receiver("desk", owners=[]),),
        (receiver("desk", owners=[{"name": "A", "contact": "a", "until": "2026-03-04"}]),),
    ],
)
def test_every_receiver_in_use_needs_an_owner_in_force(there: tuple[Receiver, ...]) -> None:
    edge = handoff("agent", "desk", 100)
    assert answers(edge, receivers=there)[OWNER] == "no"
    until = receiver("desk", owners=[{"name": "A", "contact": "a", "until": "2026-03-05"}])
    assert answers(edge, receivers=(until,))[OWNER] == "yes"


def test_an_undocumented_edge_counts_once_it_is_a_habit_or_one_of_many() -> None:
    busy = handoff("agent", "desk", 10_000)
    rare = handoff("agent", "desk", 19, documented=False)
    habit = handoff("agent", "desk", 20, documented=False)
    assert one(MAPPED, busy, rare).answer == "yes"
    assert one(MAPPED, busy, habit).answer == "no"
    assert one(MAPPED, handoff("agent", "desk", 100), rare).answer == "no", "16 % of all moves"


def test_at_most_five_edges_are_named() -> None:
    told = of(*(move("a", str(number), 5) for number in range(9)))
    assert len(told.answers[FORMAT].worst) == 5


def test_the_page_shows_any_name_as_it_is() -> None:
    told = of(move("a|b", "<c>\n*d*", 30))
    lines = list(page(told, "recording_1.jsonl"))
    assert "- w: a\\|b → \\<c\\>�\\*d\\*: 30 of 30 moves without any handoff" in lines
    assert "From recording\\_1.jsonl: 1 edge, 30 crossings, 2026-03-01 to 2026-03-05." in lines
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) == 7
    assert escaped("`a` [b](c) #1 & d~e!") == "\\`a\\` \\[b\\](c) \\#1 \\& d\\~e\\!"
