"""Held handoffs: judged again when something is learnt, set, registered or corrected."""

from collections.abc import Collection, Iterable

from msgspec.structs import replace

from processors.contracts.compiled import Contract
from processors.integrity import sentences
from processors.integrity.context import carry
from processors.integrity.fields import learnt
from processors.integrity.handoff import Verdict, begun_again, decide
from processors.integrity.lifecycle import Handoffs, of_kind, why_gone
from processors.integrity.publish import to
from processors.integrity.receiver import RECEIVING
from processors.integrity.state import OpenHandoff, OpenViolation, PackageField
from schemas.flow import Refused

# What is true of the handoff whatever its context is judged to be.
STAYING = ("held_too_long", "handoff_loop")


def judge_again(handoffs: Handoffs, held: OpenHandoff, override: bool = False) -> None:
    """A held one is judged anew, with what was learnt and set since, under the contract of
    today; sent when nothing holds it any more, or when a person overrides what does."""
    out = handoffs.outbox
    contract = handoffs.newest_of(held)
    proposed = begun_again(held, contract, handoffs.tables, handoffs.step.workflow)
    contract = proposed.asked.contract
    if any(h.slot == proposed.slot for h in handoffs.open.values() if h.id != held.id):
        # The new version names a receiver to whom this task has a handoff open already.
        contract = out.contract_of(held)
        proposed = begun_again(held, contract, handoffs.tables, handoffs.step.workflow)
        contract = proposed.asked.contract
    if contract is None and held.contract is not None:
        _without_its_contract(handoffs, held, override)
        return

    def judge(filled: dict[str, PackageField]) -> Verdict:
        return decide(
            proposed,
            handoffs.step.workflow,
            held.source,
            context=carry(held.context),
            search=handoffs.memory.before(held.as_of, held.lost),
            tables=handoffs.tables,
            now=handoffs.step.now,
            filled=filled,
        )

    verdict = judge(held.amended)
    late = _learnt(handoffs, held, contract, verdict.missing)
    if contract is not None and contract.version == held.version:
        # What it has learnt it keeps until something newer comes, whatever the task forgets.
        for name, field in held.values.items():
            if field.how == "late" and name in verdict.missing:
                newer = late.get(name)
                if newer is None or newer.ref.occurred_at <= field.ref.occurred_at:
                    late[name] = field
    if late:
        verdict = judge({**late, **held.amended})
    handoff = replace(held)
    contract_id = contract.id if contract is not None else None
    if contract_id != handoff.contract:
        _end_trial(handoffs, handoff)
    handoff.contract = contract_id
    handoff.version = contract.version if contract is not None else None
    receiving = verdict.route.to
    handoff.receiver = receiving.receiver
    handoff.to_team = receiving.team
    handoff.to_stage = receiving.stage
    handoff.elsewhere = contract is not None and contract.leads_out_of(handoffs.step.workflow)
    handoff.owner = receiving.owner
    handoff.owner_contact = receiving.owner_contact
    handoff.values = verdict.values
    handoff.missing = verdict.missing
    handoff.fidelity = verdict.fidelity
    handoff.completeness = verdict.completeness
    if handoff.receiver != held.receiver:
        out.feed.redirected(held, handoff, contract, handoffs.memory.secrets)
    if verdict.holding and not override:
        _settle(handoffs, held, handoff, verdict)
        if handoff != held:
            handoffs.revise(handoff, contract)
            handoffs.put(handoff)
        return
    _release(handoffs, held, handoff, contract=contract, verdict=verdict, override=override)
    handoffs.remember_moved(handoff, verdict.moved)


def _release(
    handoffs: Handoffs,
    held: OpenHandoff,
    handoff: OpenHandoff,
    contract: Contract | None,
    verdict: Verdict | None,
    override: bool,
) -> None:
    """Sent at last, as it is now; `held` as it was, the verdict None where nobody could judge."""
    out = handoffs.outbox
    out.not_held(held)
    out.feed.count(handoff, "sent")
    handoffs.send(handoff, contract)
    handoff.overridden = override
    handoff.release_by = handoff.as_of = 0
    handoff.context = {}
    handoff.amended = {}
    if verdict is not None:
        _settle(handoffs, held, handoff, verdict)
    out.resolve(handoff, of_kind(handoff, "held_too_long"), "released")
    handoffs.revise(handoff, contract)
    absent = bool(of_kind(handoff, "receiver_missing"))
    before = held.receiver if held.receiver != handoff.receiver else None
    out.signal(handoff, "released", sentences.released(to(handoff), override, absent, before))
    out.count("handoffs_released", "overridden" if override else "mended")
    handoffs.put(handoff)


def _without_its_contract(handoffs: Handoffs, held: OpenHandoff, override: bool) -> None:
    """Its contract cannot be read, or is on its topic no more. That mends nothing: it waits as it
    is, with what people set, until the contract is back or a person sends it."""
    values = held.values | held.amended
    handoff = replace(held)
    handoff.values = values
    handoff.missing = tuple([name for name in held.missing if name not in values])
    if override:
        _release(handoffs, held, handoff, contract=None, verdict=None, override=override)
    elif values != held.values:
        handoffs.revise(handoff, None)
        handoffs.put(handoff)


def _end_trial(handoffs: Handoffs, handoff: OpenHandoff) -> None:
    """What a trial version said beside its contract ends, as another contract judges now."""
    gone = [violation for violation in handoff.violations if violation.trial is not None]
    handoffs.outbox.resolve(handoff, gone, "judged_again")


def redirect(handoffs: Handoffs, held: OpenHandoff, to: str) -> None:
    """A person sends a held one on to another receiver, under the contract that there is for it."""
    handoff = handoffs.draft(held)
    _end_trial(handoffs, handoff)
    handoff.violations = tuple(
        [replace(each, contract=each.contract or handoff.contract) for each in handoff.violations]
    )
    handoff.asked_to, handoff.asked_contract = to, None
    handoff.contract = handoff.version = None
    slot = begun_again(handoff, None, handoffs.tables, handoffs.step.workflow).slot
    if any(other.slot == slot for other in handoffs.open.values() if other.id != held.id):
        raise Refused(
            "slot_open", "this task has such a handoff to that receiver already; discard this one"
        )
    judge_again(handoffs, handoff)


def amend(handoffs: Handoffs, id_: str, filled: dict[str, PackageField]) -> None:
    """A person has set fields of a held one."""
    handoff = handoffs.draft(handoffs.open[id_])
    handoff.amended = handoff.amended | filled
    judge_again(handoffs, handoff)


def _learnt(
    handoffs: Handoffs, handoff: OpenHandoff, contract: Contract | None, missing: Iterable[str]
) -> dict[str, PackageField]:
    """What the task learnt, since a handoff was held, of the fields that it misses."""
    found: dict[str, PackageField] = {}
    for name in missing:
        field = contract.fields_by_name.get(name) if contract is not None else None
        late = learnt(field, handoffs.memory.search) if field is not None else None
        # That a package which went out carried it is no news.
        if (
            late is not None
            and late.held.alias_of is None
            and late.held.ref.number > handoff.source.number
        ):
            found[name] = late.packed()
    return found


def _settle(handoffs: Handoffs, held: OpenHandoff, handoff: OpenHandoff, verdict: Verdict) -> None:
    """The violations of now: those whose cause is gone are resolved, new ones opened."""
    out = handoffs.outbox
    found = {violation.id(handoff): (violation, text) for violation, text in verdict.opened}
    absent = any(violation.kind == "receiver_missing" for violation, _ in verdict.opened)
    before = {
        (v.kind, v.subject, v.severity)
        for v in held.violations
        if v.trial is None and held.receiver == handoff.receiver
    }
    # Where it goes to another receiver now, what is broken there is another break.
    same = held.receiver == handoff.receiver
    broken = {(v.kind, v.subject) for v, _ in found.values()} if same else set()
    there = set()
    gone: list[tuple[OpenViolation, str, bool | None]] = []
    for violation in handoff.violations:
        id_ = violation.id(handoff)
        differs = id_ in found and (violation.reason != found[id_][0].reason or not same)
        if differs and violation.kind in RECEIVING:
            # Broken in another way now: what is open says how.
            gone.append((violation, "judged_again", False))
            continue
        there.add(id_)
        if id_ in found or violation.trial is not None or violation.kind in STAYING:
            continue
        field = handoff.values.get(violation.subject or "")
        if held.version != handoff.version or not same:
            word = "judged_again"
        else:
            how = field.how if field is not None else None
            word = why_gone(violation, how, absent)
        again = (violation.kind, violation.subject) in broken
        gone.append((violation, word, False if again else None))
    out.resolve_each(handoff, gone, to(held))
    for id_, (violation, text) in found.items():
        if id_ not in there:
            # Broken in another way, or under a newer version, is no second break to be paged for.
            known = (violation.kind, violation.subject, violation.severity) in before
            out.open(handoff, violation, text, known)


def unlearn(handoffs: Handoffs, numbers: Collection[int]) -> None:
    """What came with these events is known no more: the held ones are judged again without it."""
    for held in handoffs.held():
        handoff = handoffs.draft(held)
        handoff.values = {
            name: field
            for name, field in handoff.values.items()
            if field.how != "late" or field.ref.number not in numbers
        }
        judge_again(handoffs, handoff)


def retract(handoffs: Handoffs, names: Iterable[str], at: int) -> None:
    """What was taken back goes from the held ones too; packages already sent stay."""
    gone = set(names)
    for held in handoffs.held():
        if at < held.source.occurred_at:
            continue
        handoff = handoffs.draft(held)
        handoff.context = {n: v for n, v in handoff.context.items() if n not in gone}
        handoff.amended = {n: v for n, v in handoff.amended.items() if n not in gone}
        contract = handoffs.outbox.contract_of(handoff)
        # Somebody may have written the same version anew, without a field that was learnt.
        fields = contract.fields_by_name if contract is not None else {}
        handoff.values = {
            name: field
            for name, field in handoff.values.items()
            if field.how != "late"
            or field.ref.occurred_at > at
            or name not in fields
            or gone.isdisjoint(fields[name].tops)
        }
