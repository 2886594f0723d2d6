"""The six questions of an audit, answered from what was observed. Pure.

The unit is a *crossing*: a handoff that began, or a move between stages of which nothing made one.
Each is counted once, and each answer weighs edges by their crossings, so that a rare edge does not
hide what happens on the busy ones. Without a crossing the answer is that nobody knows; where there
are crossings and nothing is known of them, the answer is no.
"""

import heapq
from collections.abc import Callable, Iterable
from datetime import date, datetime
from typing import Final, Literal

from msgspec import Struct, structs

from console.output import number
from console.render import percent
from schemas.documents import Receiver
from schemas.records import Edge

COVERED: Final = 0.95  # what is left are exceptions; one in twenty is seen every day
FIDELITY: Final = 0.9
REENTERED: Final = 0.01  # typing again is what people do last: more than one in a hundred is habit
KNOWN: Final = 0.5  # a mean over fewer crossings says nothing of the rest
OWNED: Final = 0.99
PROMISED: Final = 0.9
MAPPED: Final = 0.95
HABIT: Final = 20  # moves over an undocumented edge: no accident any more, as for its pattern
BARE: Final = 0.05
WORST: Final = 5

Verdict = Literal["yes", "no", "unknown"]


class Offender(Struct, frozen=True, rename={"from_": "from"}):
    """An edge that speaks against a yes, and what of it, in words."""

    kind: str
    workflow: str
    from_: str
    to: str
    why: str


class AuditAnswer(Struct, frozen=True):
    """One question: its answer, by which rule, from which figures, and what to do about a no.

    Shares in `figures` are 0 to 1, null where there is nothing to take them of.
    """

    question: str
    answer: Verdict
    evidence: str
    rule: str
    figures: dict[str, float | int | None]
    worst: list[Offender]
    first_step: str


class Audit(Struct, frozen=True):
    """The six answers, the headline, and the span of event time that they are from."""

    headline: str
    no: int
    edges: int
    crossings: int
    first_seen: datetime | None
    last_seen: datetime | None
    answers: list[AuditAnswer]


class _Traffic:
    """Edges added up."""

    def __init__(self, edges: Iterable[Edge]) -> None:
        self.edges = list(edges)
        self.moves = [edge for edge in self.edges if edge.kind == "move"]
        self.handoffs = [edge for edge in self.edges if edge.kind == "handoff"]
        self.begun = sum(edge.moves for edge in self.handoffs)
        self.crossings = self.begun + sum(map(_alone, self.moves))

    def sum(self, name: str) -> int:
        """A count of all handoffs."""
        return sum(edge.counts.get(name, 0) for edge in self.handoffs)

    def share(self, number: float, whole: float | None = None) -> float | None:
        """A share of the crossings, or of another whole."""
        whole = self.crossings if whole is None else whole
        return number / whole if whole else None

    def worst(
        self, lacking: Callable[[Edge], float], why: Callable[[Edge, float], str]
    ) -> list[Offender]:
        """The edges that lack the most."""
        found = ((lack, edge) for edge in self.edges if (lack := lacking(edge)) > 0)
        most = heapq.nsmallest(
            WORST, found, key=lambda pair: (-pair[0], pair[1].workflow, pair[1].from_, pair[1].to)
        )
        return [
            Offender(edge.kind, edge.workflow, edge.from_, edge.to, why(edge, lack))
            for lack, edge in most
        ]


def audit(
    edges: Iterable[Edge],
    active: int,
    receivers: Iterable[Receiver],
    today: date,
) -> Audit:
    """Answer the six questions. `active` counts the contracts in force. `today` (UTC) decides which
    owners are."""
    traffic = _Traffic(edges)
    answers: list[AuditAnswer] = [
        _known_format(traffic),
        _carried(traffic),
        _named_owner(traffic, active, list(receivers), today),
        _visible_stalls(traffic),
        _mapped(traffic),
        _structured(traffic),
    ]
    if not traffic.crossings:
        answers = [structs.replace(each, evidence="nothing was observed yet") for each in answers]
    return Audit(
        _headline(answers),
        sum(each.answer == "no" for each in answers),
        len(traffic.edges),
        crossings=traffic.crossings,
        first_seen=min((edge.first_seen for edge in traffic.edges), default=None),
        last_seen=max((edge.last_seen for edge in traffic.edges), default=None),
        answers=answers,
    )


def _headline(answers: list[AuditAnswer]) -> str:
    refused = [each for each in answers if each.answer == "no"]
    unknown = [each for each in answers if each.answer == "unknown"]
    if len(unknown) == len(answers):
        return "Nothing was observed yet, so nothing is known: no task has moved or was handed off."
    if not refused:
        return f"{len(answers) - len(unknown)} of {len(answers)} answers are yes, and none is no."
    verb = "is" if len(refused) == 1 else "are"
    told = f"{len(refused)} of {len(answers)} answers {verb} no"
    if len(refused) > 2:
        told += ": handoffs are not under control here"
    return f"{told}. Begin here: {refused[0].first_step}"


def _verdict(traffic: _Traffic, kept: bool) -> Verdict:
    if not traffic.crossings:
        return "unknown"
    return "yes" if kept else "no"


def _at_least(share: float | None, threshold: float) -> bool:
    return share is not None and share >= threshold


def _alone(edge: Edge) -> int:
    """The moves over an edge that nobody handed off, and that no contract made a handoff of.

    Too many where some of the others were handed off without a contract, and others covered by one.
    """
    return min(edge.counts.get("bare", 0), edge.counts.get("uncovered", 0))


def _without(edge: Edge, name: str) -> int:
    """The crossings of an edge that lack what a count says of handoffs."""
    return _alone(edge) if edge.kind == "move" else edge.moves - edge.counts.get(name, 0)


def _of(words: str) -> Callable[[Edge, float], str]:
    def why(edge: Edge, lack: float) -> str:
        what = "moves without any handoff" if edge.kind == "move" else f"handoffs {words}"
        return f"{int(lack):,} of {edge.moves:,} {what}"

    return why


def _known_format(traffic: _Traffic) -> AuditAnswer:
    judged = traffic.sum("judged")
    share = traffic.share(judged)
    return AuditAnswer(
        "Is the format each receiver expects known?",
        _verdict(traffic, _at_least(share, COVERED)),
        f"a contract covers {judged:,} of {traffic.crossings:,} crossings ({percent(share)})",
        rule=f"yes when it covers {percent(COVERED)} or more",
        figures={"crossings": traffic.crossings, "covered": judged, "share": share},
        worst=traffic.worst(lambda edge: _without(edge, "judged"), _of("without a contract")),
        first_step=(
            "draft contracts for what is not covered with `handoff discover`, and edit and apply "
            "them."
        ),
    )


def _carried(traffic: _Traffic) -> AuditAnswer:
    judged, required = traffic.sum("judged"), traffic.sum("required")
    arrived = sum(
        edge.fidelity * edge.counts.get("judged", 0)
        for edge in traffic.handoffs
        if edge.fidelity is not None
    )
    fidelity = traffic.share(arrived, judged)
    rebuilt = traffic.share(traffic.sum("rebuilt"), required)
    lost = traffic.share(traffic.sum("lost"), required)
    reentered = traffic.share(traffic.sum("reentered"), judged)
    known = traffic.share(judged)
    kept = (
        _at_least(known, KNOWN)
        and _at_least(fidelity, FIDELITY)
        and (reentered or 0.0) <= REENTERED
    )
    if judged:
        evidence = (
            f"fidelity {percent(fidelity)} over {number(judged, 'handoff')} on a contract; of the "
            f"required fields {percent(rebuilt)} were rebuilt and {percent(lost)} lost; "
            f"{number(traffic.sum('reentered'), 'field')} typed again"
        )
        if not _at_least(known, KNOWN):
            evidence += f"; that is {percent(known)} of the crossings"
    else:
        evidence = (
            f"no contract says what must arrive at any of the {traffic.crossings:,} crossings, so "
            "nobody knows what is lost"
        )

    def lacking(edge: Edge) -> float:
        if edge.kind == "move":
            return _alone(edge)
        return (
            (1 - edge.fidelity) * edge.counts.get("judged", 0) if edge.fidelity is not None else 0
        )

    def why(edge: Edge, lack: float) -> str:
        if edge.kind == "move":
            return _of("")(edge, lack)
        return (
            f"fidelity {percent(edge.fidelity)} over "
            f"{number(edge.counts.get('judged', 0), 'handoff')}, "
            f"{number(edge.counts.get('lost', 0), 'field')} lost"
        )

    return AuditAnswer(
        "Is context carried automatically?",
        _verdict(traffic, kept),
        evidence,
        rule=(
            f"yes when fidelity is {percent(FIDELITY)} or more, at most {percent(REENTERED)} of "
            f"the handoffs had a field typed again, and contracts cover {percent(KNOWN)} of the "
            "crossings"
        ),
        figures={
            "judged": judged,
            "judged_share": known,
            "fidelity": fidelity,
            "rebuilt_share": rebuilt,
            "lost_share": lost,
            "reentered_share": reentered,
        },
        worst=traffic.worst(lacking, why),
        first_step=(
            "let the sending tools hand off all that the contract requires, the worst edge first."
        ),
    )


def _named_owner(
    traffic: _Traffic, active: int, receivers: list[Receiver], today: date
) -> AuditAnswer:
    owned = traffic.sum("owned")
    share = traffic.share(owned)
    # A handoff on a contract goes to the contract's receiver, whatever the sender wrote.
    named = {edge.to for edge in traffic.handoffs}
    there = {each.id: each for each in receivers}
    nobodys = sorted(each for each in named if not _is_owned(there.get(each), today))
    evidence = f"{owned:,} of {traffic.crossings:,} crossings had a named owner ({percent(share)})"
    if nobodys:
        listed = ", ".join(nobodys[:WORST]) + (" and others" if len(nobodys) > WORST else "")
        evidence += f"; without an owner on {today.isoformat()}: {listed}"
    return AuditAnswer(
        "Is there a named owner for each step?",
        _verdict(traffic, _at_least(share, OWNED) and not nobodys),
        evidence,
        rule=(
            f"yes when {percent(OWNED)} or more had one, and every receiver in use has an owner in "
            f"force on {today.isoformat()}"
        ),
        figures={
            "owned": owned,
            "share": share,
            "receivers": len(named),
            "receivers_without_owner": len(nobodys),
            "active_contracts": active,
        },
        worst=traffic.worst(lambda edge: _without(edge, "owned"), _of("without a named owner")),
        first_step="register a receiver with an owner for each step: `handoff receivers apply`.",
    )


def _is_owned(receiver: Receiver | None, today: date) -> bool:
    return (
        receiver is not None
        and receiver.status == "active"
        and any(owner.until is None or owner.until >= today for owner in receiver.owners)
    )


def _visible_stalls(traffic: _Traffic) -> AuditAnswer:
    promised = traffic.sum("promised")
    share = traffic.share(promised)
    sent, accepted = traffic.sum("sent"), traffic.sum("accepted")
    stalled, acked = traffic.sum("stalled"), traffic.sum("acked")
    open_ = sum(edge.open or 0 for edge in traffic.handoffs)
    evidence = (
        f"{promised:,} of {traffic.crossings:,} crossings have a deadline to accept "
        f"({percent(share)}); {accepted:,} of {sent:,} sent were accepted, {acked:,} by an ack; "
        f"open: {open_:,}, stalled: {stalled:,}"
    )
    returns, looped = traffic.sum("returns"), traffic.sum("looped")
    if returns:
        evidence += f"; handed back: {returns:,}, told as loops: {looped:,}"
    return AuditAnswer(
        "Are stalls visible?",
        _verdict(traffic, _at_least(share, PROMISED) and accepted > 0),
        evidence,
        rule=(
            f"yes when {percent(PROMISED)} or more have a deadline, and acceptance was seen at all"
        ),
        figures={
            "promised": promised,
            "share": share,
            "sent": sent,
            "accepted": accepted,
            "acked": acked,
            "open": open_,
            "stalled": stalled,
            "returns": returns,
            "loops": looped,
        },
        worst=traffic.worst(lambda edge: _without(edge, "promised"), _of("without a deadline")),
        first_step=(
            "give each contract `accept_within`, and let receivers ack (`handoff ack`) or name the "
            "stage that they run (`to.stage`)."
        ),
    )


def _mapped(traffic: _Traffic) -> AuditAnswer:
    undocumented = [edge for edge in traffic.edges if not edge.documented]
    habits = [edge for edge in undocumented if edge.moves >= HABIT]
    total = sum(edge.moves for edge in traffic.edges)
    mapped = sum(edge.moves for edge in traffic.edges if edge.documented)
    share = traffic.share(mapped, total)
    return AuditAnswer(
        "Is the workflow mapped end to end?",
        _verdict(traffic, _at_least(share, MAPPED) and not habits),
        f"{len(undocumented):,} of {len(traffic.edges):,} edges are undocumented, {len(habits):,} "
        f"of these with {HABIT} or more moves; {percent(share)} of all moves and handoffs went "
        "over documented ones",
        rule=(
            f"yes when {percent(MAPPED)} or more went over documented edges, and no undocumented "
            f"one has {HABIT} or more moves"
        ),
        figures={
            "edges": len(traffic.edges),
            "undocumented": len(undocumented),
            "undocumented_in_use": len(habits),
            "share": share,
        },
        worst=traffic.worst(
            lambda edge: 0 if edge.documented else edge.moves,
            lambda edge, _: f"{number(edge.moves, edge.kind)}, no contract",
        ),
        first_step=(
            "write down the edges that nobody mapped: `handoff discover` drafts a contract for "
            "each."
        ),
    )


def _structured(traffic: _Traffic) -> AuditAnswer:
    declared, triggered = traffic.sum("declared"), traffic.sum("triggered")
    bare = traffic.crossings - declared - triggered
    share = traffic.share(bare)
    were = "was" if declared == 1 else "were"
    return AuditAnswer(
        "Do tools talk through a structured layer?",
        _verdict(traffic, share is not None and share <= BARE),
        f"{number(declared, 'handoff')} {were} declared and {triggered:,} triggered by a contract; "
        f"{bare:,} of {traffic.crossings:,} crossings were bare moves ({percent(share)})",
        rule=f"yes when {percent(BARE)} or less were bare",
        figures={"declared": declared, "triggered": triggered, "bare": bare, "share": share},
        worst=traffic.worst(
            lambda edge: _alone(edge) if edge.kind == "move" else edge.counts.get("implicit", 0),
            _of("that nobody declared"),
        ),
        first_step=(
            "let the tools declare their handoffs (`handoff: {to: ...}`), the busiest bare edge "
            "first."
        ),
    )
