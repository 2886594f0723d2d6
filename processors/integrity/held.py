"""Held handoffs: judged again when something is learnt, set, registered or corrected."""

from collections.abc import Iterable

from msgspec.structs import replace

from processors.contracts.compiled import Contract
from processors.integrity import messages
from processors.integrity.capture import carry
from processors.integrity.fields import learnt
from processors.integrity.handoff import Verdict, begun_again, decide, source_of
from processors.integrity.lifecycle import OUTPUTS, Handoffs, of_kind, why_gone
from processors.integrity.publish import to
from processors.integrity.receiver import RECEIVING
from processors.integrity.state import Capture, Kept, OpenHandoff


def judge_again(handoffs: Handoffs, handoff: OpenHandoff, override: bool = False) -> None:
    """A held one is judged anew, with what was learnt and set since, under the contract of
    today; sent when nothing holds it any more, or when a person overrides what does."""
    if not handoff.event_id:
        return  # of a version that kept no more than its slot: it expires
    out = handoffs.outbox
    contract = handoffs.newest_of(handoff)
    beginning = begun_again(handoff, contract)
    if any(h.slot == beginning.slot for h in handoffs.open.values() if h.id != handoff.id):
        # The new version names a receiver to whom this task has a handoff open already.
        contract = out.contract_of(handoff)
        beginning = begun_again(handoff, contract)
    if contract is None and handoff.contract is not None:
        _without_its_contract(handoffs, handoff, override)
        return

    def judge(filled: dict[str, Kept]) -> Verdict:
        return decide(
            beginning,
            handoffs.cause.workflow,
            source_of(handoff),
            carry(handoff.context),
            handoffs.memory.as_before(handoff.before),
            handoffs.tables,
            handoffs.cause.now,
            filled,
        )

    verdict = judge(handoff.amended)
    late = _learnt(handoffs, handoff, contract, verdict.missing)
    if contract is not None and contract.version == handoff.version:
        # What it has learnt it keeps until something newer comes, whatever the task forgets.
        for name, kept in handoff.values.items():
            if kept.how == "late" and name in verdict.missing:
                newer = late.get(name)
                if newer is None or newer.occurred_at <= kept.occurred_at:
                    late[name] = kept
    if late:
        verdict = judge({**late, **handoff.amended})
    held = handoff
    handoff = replace(
        handoff,
        version=contract.version if contract is not None else None,
        receiver=verdict.route.to.receiver,
        to_team=verdict.route.to.team,
        to_stage=verdict.route.to.stage,
        owner=verdict.route.to.owner,
        owner_contact=verdict.route.to.owner_contact,
        values=verdict.values,
        missing=verdict.missing,
        fidelity=verdict.fidelity,
        completeness=verdict.completeness,
    )
    if handoff.receiver != held.receiver:
        out.feed.redirected(held, handoff, contract)
    if verdict.holding and not override:
        handoff = _settle(handoffs, held, handoff, verdict)
        if handoff != held:
            handoff = handoffs.revise(handoff, contract)
        handoffs.open[handoff.id] = handoff
        return
    handoff = _release(handoffs, held, handoff, contract, verdict, override)
    handoffs.remember_moved(handoff, verdict.moved)


def _release(
    handoffs: Handoffs,
    held: OpenHandoff,
    handoff: OpenHandoff,
    contract: Contract | None,
    verdict: Verdict | None,
    override: bool,
) -> OpenHandoff:
    """Sent at last, as it is now; `held` as it was, the verdict None where nobody could judge."""
    out = handoffs.outbox
    out.not_held(held)
    out.feed.count(handoff, "sent")
    handoff = replace(
        handoffs.sent(handoff, contract),
        overridden=override,
        release_by=0,
        context={},
        before={},
        amended={},
    )
    if verdict is not None:
        handoff = _settle(handoffs, held, handoff, verdict)
    handoff = out.resolve(handoff, of_kind(handoff, "held_too_long"), "released")
    handoff = handoffs.revise(handoff, contract)
    handoff = out.signal(handoff, "released", messages.released(to(handoff), override))
    out.count("handoffs_released", "overridden" if override else "mended")
    handoffs.open[handoff.id] = handoff
    return handoff


def _without_its_contract(handoffs: Handoffs, handoff: OpenHandoff, override: bool) -> None:
    """Its contract cannot be read, or is on its topic no more. That mends nothing: it waits as it
    is, with what people set, until the contract is back or a person sends it."""
    values = handoff.values | handoff.amended
    missing = tuple([name for name in handoff.missing if name not in values])
    changed = replace(handoff, values=values, missing=missing)
    handoffs.open[handoff.id] = changed
    if override:
        _release(handoffs, handoff, changed, None, None, override)
    elif values != handoff.values:
        handoffs.revise(changed, None)


def amend(handoffs: Handoffs, id_: str, filled: dict[str, Kept]) -> None:
    """A person has set fields of a held one."""
    handoff = handoffs.open[id_]
    judge_again(handoffs, replace(handoff, amended=handoff.amended | filled))


def _learnt(
    handoffs: Handoffs, handoff: OpenHandoff, contract: Contract | None, missing: Iterable[str]
) -> dict[str, Kept]:
    """What the task learnt, since a handoff was held, of the fields that it misses."""
    found: dict[str, Kept] = {}
    for name in missing:
        field = contract.fields_by_name.get(name) if contract is not None else None
        late = learnt(field, handoffs.memory) if field is not None else None
        if late is None or late.top not in handoff.before:
            continue
        capture, before = late.capture, handoff.before[late.top]
        if capture.alias_of is not None:
            continue  # a package that went out carried it: that is no news
        stood = () if before is None else (before, *before.behind)
        if any(_same_origin(capture, old) for old in stood):
            continue  # nor is it that one touched a capture
        if capture.topic != OUTPUTS or capture.offset > handoff.offset:
            found[name] = late.kept()
    return found


def _same_origin(one: Capture, other: Capture) -> bool:
    return (one.topic, one.offset) == (other.topic, other.offset)


def _settle(
    handoffs: Handoffs, held: OpenHandoff, handoff: OpenHandoff, verdict: Verdict
) -> OpenHandoff:
    """The violations of now: those whose cause is gone are resolved, new ones opened."""
    out = handoffs.outbox
    found = {violation.id(handoff): (violation, text) for violation, text in verdict.opened}
    absent = any(violation.kind == "receiver_missing" for violation, _ in verdict.opened)
    before = {
        (v.kind, v.subject, v.severity)
        for v in held.violations
        if v.trial is None and held.receiver == handoff.receiver
    }
    there = set()
    for violation in handoff.violations:
        id_ = violation.id(handoff)
        differs = id_ in found and violation.reason != found[id_][0].reason
        if differs and violation.kind in RECEIVING:
            # Broken in another way now: what is open says how.
            handoff = out.resolve(handoff, [violation], "judged_again")
            continue
        there.add(id_)
        if id_ in found or violation.trial is not None or violation.kind == "held_too_long":
            continue
        kept = handoff.values.get(violation.subject or "")
        if held.version != handoff.version:
            word = "judged_again"
        else:
            how = kept.how if kept is not None else None
            word = why_gone(violation, how, absent)
        handoff = out.resolve(handoff, [violation], word)
    for id_, (violation, text) in found.items():
        if id_ not in there:
            # Broken in another way, or under a newer version, is no second break to be paged for.
            told = (violation.kind, violation.subject, violation.severity) in before
            handoff = out.open(handoff, violation, text, told)
    return handoff


def retract(handoffs: Handoffs, names: Iterable[str], at: int) -> None:
    """What was taken back goes from the held ones too; packages already sent stay."""
    gone = set(names)
    for handoff in list(handoffs.open.values()):
        if handoff.state != "held" or at < handoff.occurred_at:
            continue
        context = {n: v for n, v in handoff.context.items() if n not in gone}
        amended = {n: v for n, v in handoff.amended.items() if n not in gone}
        before: dict[str, Capture | None] = {}
        for name, capture in handoff.before.items():
            hit = capture is not None and not gone.isdisjoint((name, capture.alias_of))
            before[name] = None if hit else capture
        contract = handoffs.outbox.contract_of(handoff)
        # Somebody may have written the same version anew, without a field that was learnt.
        fields = contract.fields_by_name if contract is not None else {}
        values = {
            name: kept
            for name, kept in handoff.values.items()
            if kept.how != "late"
            or kept.occurred_at > at
            or name not in fields
            or gone.isdisjoint(fields[name].tops)
        }
        handoffs.open[handoff.id] = replace(
            handoff, context=context, amended=amended, before=before, values=values
        )
