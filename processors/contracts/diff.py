"""What a change of a contract means to those who live by it: what breaks, for whom, and why.

A sender is broken when outputs that were well are blamed, held or not understood; a receiver when
it gets less than before, in other words, or has less time. What cannot be told counts as breaking.
The opposite of a breaking change is none: it asks for less.
"""

from collections.abc import Iterator
from datetime import timedelta

from processors.contracts.change import RANK, Change, Side, period
from processors.contracts.compiled import default_severity
from processors.contracts.diff_fields import fields, rules
from schemas.documents import (
    VIOLATION_KINDS,
    AcceptTools,
    HandoffContract,
    same_body,
)
from schemas.printable import listed
from schemas.records import Severity, ViolationKind

_RECEIVERS: frozenset[str] = frozenset(
    [
        "receiver_missing",
        "receiver_silent",
        "owner_missing",
        "not_accepted",
        "not_completed",
        "rejected",
        "context_reentered",
    ]
)


def compare(old: HandoffContract, new: HandoffContract) -> list[Change]:
    """Every change from one contract to another of the same id, in the order of the keys.

    Empty when, and only when, both are the same but for the version.
    """
    found = [*_status(old, new), *_whole(old, new), *_route(old, new)]
    found += [*fields(old.fields, new.fields), *rules(old.rules, new.rules)]
    found += [*_holds(old, new), *_times(old, new), *_severities(old, new), *_rest(old, new)]
    if not found and not _same(old, new):
        found.append(Change("", "written otherwise", "it means the same"))
    return found


def version_must_rise(old: HandoffContract, new: HandoffContract) -> bool:
    """Whether the cluster would refuse `new`, or not take it: another body, and no higher version.

    A registered version never changes but in its status, and the highest one counts.
    """
    return new.version <= old.version and not _same(old, new)


def _same(old: HandoffContract, new: HandoffContract) -> bool:
    """Equal in all but status and version."""
    return same_body(old, new.model_copy(update={"version": old.version}))


def effective(contract: HandoffContract) -> bool:
    """Whether new handoffs take a contract of this status."""
    return contract.status in ("active", "deprecated")


# --- the contract as a whole --------------------------------------------------------------------


def _status(old: HandoffContract, new: HandoffContract) -> Iterator[Change]:
    if old.status == new.status:
        return
    what = f"{old.status} -> {new.status}"
    if new.status in ("draft", "trial") and new.version > old.version:
        yield Change("status", what, f"nothing changes yet: version {old.version} stays as it is")
    elif effective(old) and not effective(new):
        reason = "new handoffs take it no more: they are judged by another version, or by none"
        yield Change("status", what, reason, ("sender", "receiver"))
    elif effective(new) and not effective(old):
        yield Change("status", what, "new handoffs take it from now on")
    else:
        yield Change("status", what, "nobody is asked for more")


def _whole(old: HandoffContract, new: HandoffContract) -> Iterator[Change]:
    if old.owner != new.owner:
        yield Change("owner", "another owner", "another person answers for the contract")
    if old.action != new.action:
        yield Change("action", "another text", "packages say something else to do")
    if old.description != new.description:
        yield Change("description", "another text", "only people read it")


def _route(old: HandoffContract, new: HandoffContract) -> Iterator[Change]:
    if old.workflow != new.workflow:
        reason = f"handoffs of {old.workflow} fall under it no more"
        yield Change(
            "workflow", f"{old.workflow} -> {new.workflow}", reason, ("sender", "receiver")
        )
    if old.from_.team != new.from_.team:
        what = f"{old.from_.team or 'none'} -> {new.from_.team or 'none'}"
        yield Change("from.team", what, "signals go there for outputs that name no team")
    yield from _stages(old.from_.stage, new.from_.stage)
    if old.to.receiver != new.to.receiver:
        reason = f"packages go to {new.to.receiver}; who hands off to {old.to.receiver} mismatches"
        what = f"{old.to.receiver} -> {new.to.receiver}"
        yield Change("to.receiver", what, reason, ("sender", "receiver"))
    if old.to.stage != new.to.stage:
        what = f"{old.to.stage or 'none'} -> {new.to.stage or 'none'}"
        reason = "outputs elsewhere accept now, and other moves count as handoffs of it"
        yield Change("to.stage", what, reason, ("sender", "receiver"))
    if old.when != new.when:
        what = "removed" if new.when is None else "new" if old.when is None else "another one"
        reason = "cannot tell when the processor begins a handoff now: earlier, later, or never"
        if new.when is None:
            reason = "the processor begins no handoff any more"
        yield Change("when", what, reason, ("receiver",))


def _stages(old: tuple[str, ...], new: tuple[str, ...]) -> Iterator[Change]:
    if set(old) == set(new):
        return
    what = f"{listed(old)} -> {listed(new)}"
    if "*" not in new and (lost := [stage for stage in old if stage not in new]):
        stages = "most stages" if lost == ["*"] else listed(lost)
        reason = f"handoffs from {stages} fall under it no more"
        yield Change("from.stage", what, reason, ("sender", "receiver"))
    else:
        yield Change("from.stage", what, "handoffs from more stages fall under it")


def _holds(old: HandoffContract, new: HandoffContract) -> Iterator[Change]:
    before, after = _kinds(old), _kinds(new)
    more = [kind for kind in VIOLATION_KINDS if kind in after - before]
    less = [kind for kind in VIOLATION_KINDS if kind in before - after]
    if more:
        reason = f"packages are held now for {_listed(more)}"
        yield Change("hold_on", "more holds", reason, ("sender", "receiver"))
    if less:
        reason = f"packages come through in spite of {_listed(less)}"
        yield Change("hold_on", "less holds", reason)


def _kinds(contract: HandoffContract) -> set[str]:
    return set(VIOLATION_KINDS) if "any" in contract.hold_on else set(contract.hold_on)


def _listed(kinds: list[str]) -> str:
    return ", ".join(kinds) if len(kinds) <= 4 else f"{len(kinds)} more kinds of violation"


def _times(old: HandoffContract, new: HandoffContract) -> Iterator[Change]:
    pairs: tuple[tuple[str, Side, timedelta | None, timedelta | None], ...] = (
        ("accept_within", "receiver", old.accept_within, new.accept_within),
        ("complete_within", "receiver", old.complete_within, new.complete_within),
        ("release_within", "owner", old.release_within, new.release_within),
    )
    for name, side, before, after in pairs:
        if before == after:
            continue
        what = f"{period(before)} -> {period(after)}"
        if after is not None and (before is None or after < before):
            reason = "a new deadline" if before is None else "a shorter deadline"
            yield Change(name, what, reason, (side,))
        else:
            yield Change(name, what, "no deadline" if after is None else "a longer deadline")


def _severities(old: HandoffContract, new: HandoffContract) -> Iterator[Change]:
    kinds: list[ViolationKind] = sorted(set(old.severity) | set(new.severity))
    for kind in kinds:
        before, after = old.severity.get(kind), new.severity.get(kind)
        if before == after:
            continue
        at = f"severity.{kind}"
        what = f"{before or 'the default'} -> {after or 'the default'}"
        ranks = list(zip(_ranks(kind, before), _ranks(kind, after), strict=True))
        if any(now > was for was, now in ranks):
            side: Side = "receiver" if kind in _RECEIVERS else "sender"
            if kind == "held_too_long":
                side = "owner"
            yield Change(at, what, "it weighs more than before", (side,))
        elif any(now < was for was, now in ranks):
            yield Change(at, what, "it weighs less than before")
        else:
            yield Change(at, what, "it weighs the same")


def _ranks(kind: ViolationKind, said: Severity | None) -> list[int]:
    """How much a kind weighs: for a required field, a rebuilt one and an optional one."""
    cases = ((False, False), (True, False), (False, True))
    return [RANK[said or default_severity(kind, rebuilt, optional)] for rebuilt, optional in cases]


def _rest(old: HandoffContract, new: HandoffContract) -> Iterator[Change]:
    if old.accept != new.accept:
        yield from _acceptance(old.accept, new.accept)
    if old.placeholders != new.placeholders:
        lost, more = set(old.placeholders) - set(new.placeholders), set(new.placeholders)
        what = f"{listed(old.placeholders) or 'none'} -> {listed(new.placeholders) or 'none'}"
        if more - set(old.placeholders):
            reason = "what was a value only says that there is none"
            yield Change("placeholders", what, reason, ("sender",))
        else:
            what = f"without {listed(sorted(lost))}" if lost else what
            yield Change("placeholders", what, "such a text is a value now")
    if old.loop_after != new.loop_after:
        what = f"{old.loop_after} -> {new.loop_after}"
        if new.loop_after < old.loop_after:
            reason = "rounds that were well are told as a loop"
            yield Change("loop_after", what, reason, ("owner",))
        else:
            yield Change("loop_after", what, "more rounds are meant")
    if old.extra != new.extra:
        what = f"{old.extra} -> {new.extra}"
        if new.extra == "strip":
            reason = "what nobody declared does not travel along any more"
            yield Change("extra", what, reason, ("receiver",))
        else:
            yield Change("extra", what, "what nobody declared travels along")
    if old.repeat != new.repeat:
        if old.repeat is None:
            yield Change("repeat", "new", "what repeats becomes a pattern")
        elif new.repeat is None or old.repeat.receiver != new.repeat.receiver:
            reason = f"patterns go to {old.repeat.receiver} no more"
            yield Change(
                "repeat", "removed" if new.repeat is None else "moved", reason, ("receiver",)
            )
        else:
            yield Change(
                "repeat", "another one", "other repeats become patterns, or at other counts"
            )


def _acceptance(old: str | AcceptTools, new: str | AcceptTools) -> Iterator[Change]:
    def words(accept: str | AcceptTools) -> str:
        return accept if isinstance(accept, str) else f"tools: {listed(accept.tools)}"

    what = f"{words(old)} -> {words(new)}"
    wider = (
        new == "on_output"
        or old == "explicit"
        or (
            isinstance(old, AcceptTools)
            and isinstance(new, AcceptTools)
            and set(old.tools) <= set(new.tools)
        )
    )
    if wider:
        yield Change("accept", what, "whatever accepted still does")
    else:
        reason = "outputs that accepted do not any more: the receiver must say so otherwise"
        yield Change("accept", what, reason, ("receiver",))
