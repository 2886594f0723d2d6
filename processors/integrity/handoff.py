"""Judges one handoff: its route, its context, its rules, and whether it is sent or held."""

from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from processors.contracts.compiled import Contract, Rule, severity_under
from processors.contracts.registry import RegistrySnapshot
from processors.integrity import sentences
from processors.integrity.begin import ProposedHandoff, asked_for
from processors.integrity.candidates import Search
from processors.integrity.context import Carried
from processors.integrity.events import EventRef
from processors.integrity.fields import AssembledContext, FieldResult, assemble, share
from processors.integrity.receiver import SPELLING, Asked, Route, route, whom_else
from processors.integrity.state import OpenHandoff, OpenViolation, PackageField
from schemas.cel.expression import EvaluationError, Members
from schemas.records import From, ToolOutput

HOLD_WITHOUT_CONTRACT = frozenset({"receiver_missing"})  # there is nowhere to send it
# A published violation, and a value with its provenance in a package, have more bytes than this
# before the first name is in them.
_LEAST_VIOLATION, _LEAST_VALUE = 600, 100


# What contracts, by id and version, or None for none, made of one context and memory.
Beside = dict[tuple[str, int] | None, AssembledContext]


class Verdict(Struct, frozen=True, gc=False):
    """What became of a handoff's context, receiver and rules at one moment.

    `opened` are its violations, each with its sentence; `holding` the kinds that hold it. `moved`
    are the values that the receiver gets under another name or in another form than was sent.
    """

    route: Route
    values: dict[str, PackageField]
    missing: tuple[str, ...]
    fidelity: float | None
    completeness: float | None
    opened: list[tuple[OpenViolation, str]]
    holding: list[str]
    moved: list[FieldResult]
    rebuilt: int
    odd: int  # values that are passed on although they are not as asked

    @property
    def message(self) -> str:
        """What the originating team is told."""
        lost = 0
        if self.missing:
            blamed = {violation.subject for violation, _ in self.opened if violation.trial is None}
            lost = len(blamed.intersection(self.missing))
        return sentences.begun(self.route.to, self.holding, self.rebuilt, lost, self.odd)

    @property
    def least(self) -> int:
        """The fewest bytes that it can be published in."""
        messages = sum([len(message) for _, message in self.opened])
        return messages + _LEAST_VIOLATION * len(self.opened) + _LEAST_VALUE * len(self.values)


def decide(
    proposed: ProposedHandoff,
    workflow: str,
    source: EventRef,
    context: Carried,
    search: Search,
    tables: RegistrySnapshot,
    now: int,
    filled: Mapping[str, PackageField] = {},
    beside: Beside | None = None,
) -> Verdict:
    """Judge a handoff against its contract, its receiver and what the task held before it.

    `filled` are values that were learnt or set after it: they fill and never blame. `beside` holds
    what the contracts made of this context and memory: the parts of one output have that in common.
    """
    way = route(proposed.asked, tables, now)
    contract = way.contract
    gathered = proposed.begun == "triggered"
    judged = _assembled(contract, context, search, source=source, gathered=gathered, beside=beside)
    kept = judged.values
    broken = judged.broken
    missing = judged.missing
    if filled:
        kept.update(filled)
        broken = [finding for finding in broken if finding.name not in filled]
        missing = [name for name in missing if name not in filled]
    completeness = judged.fidelity
    if judged.broken or filled:
        completeness = share(contract, [n for n, k in kept.items() if k.how != "as_sent"])
    sender, to = proposed.sender, way.to
    event_id, at = source.event_id, source.occurred_at
    opened: list[tuple[OpenViolation, str]] = []
    holding: list[str] = []
    odd = 0
    hold_on = contract.hold_on if contract is not None else HOLD_WITHOUT_CONTRACT
    # Fields first, in the order of their declaration, then the rules, then the handoff as a whole.
    if contract is not None and broken:
        opened += _field_violations(contract, broken, proposed, way=way, source=source, now=now)
        # What was rebuilt never holds.
        holding += [f.kind for f in broken if not f.rebuilt and f.kind and _holds(f.kind, hold_on)]
        odd = len([finding for finding in broken if finding.how == "as_sent"])
    if contract is not None and contract.rules:
        rules = _rule_violations(contract, kept, broken, source, now)
        holding += [v.kind for v, _ in rules if _holds(v.kind, hold_on)]
        opened += rules
    for found in way.broken:
        harmless = found.reason == SPELLING
        severity = "info" if harmless else severity_under(contract, found.kind)
        version = contract.version if contract is not None else None
        opened.append(
            (
                OpenViolation(
                    kind=found.kind,
                    subject=None,
                    version=version,
                    severity=severity,
                    episode=1,
                    event_id=event_id,
                    occurred_at=at,
                    detected_at=now,
                    reason=found.reason,
                ),
                sentences.about_handoff(
                    found,
                    sender,
                    to,
                    asked=proposed.asked.to,
                    named=proposed.asked.named,
                    workflow=workflow,
                    others=whom_else(found, to, sender, workflow, tables),
                ),
            )
        )
        if not harmless and _holds(found.kind, hold_on):
            holding.append(found.kind)
    if proposed.begun == "implicit":
        opened.append(_nobody_declared(contract, sender, source, now))
        holding = []
    if proposed.trial is not None:
        on_trial = _assembled(
            proposed.trial, context, search, source=source, gathered=gathered, beside=beside
        )
        opened += _on_trial(proposed.trial, on_trial, proposed, way=way, source=source, now=now)
    return Verdict(
        route=way,
        values=kept,
        missing=tuple(missing),
        fidelity=judged.fidelity,
        completeness=completeness,
        opened=opened,
        holding=list(dict.fromkeys(holding)),
        moved=judged.moved,
        rebuilt=judged.rebuilt,
        odd=odd,
    )


def _assembled(
    contract: Contract | None,
    context: Carried,
    search: Search,
    source: EventRef,
    gathered: bool,
    beside: Beside | None,
) -> AssembledContext:
    """What a contract makes of a context, worked out once for all parts of an output."""
    if beside is None:
        return assemble(contract, context, search, source, gathered)
    place = (contract.id, contract.version) if contract is not None else None
    if place not in beside:
        beside[place] = assemble(contract, context, search, source, gathered)
    return beside[place]


def _holds(kind: str, hold_on: frozenset[str]) -> bool:
    return kind in hold_on or "any" in hold_on


def _field_violations(
    contract: Contract,
    broken: Iterable[FieldResult],
    proposed: ProposedHandoff,
    way: Route,
    source: EventRef,
    now: int,
) -> list[tuple[OpenViolation, str]]:
    found = []
    for finding in broken:
        assert finding.kind is not None
        held = finding.held
        violation = OpenViolation(
            kind=finding.kind,
            subject=finding.name,
            version=contract.version,
            severity=contract.severity_of(
                finding.kind, finding.rebuilt, not finding.field.required
            ),
            episode=1,
            event_id=source.event_id,
            occurred_at=source.occurred_at,
            detected_at=now,
            reason=finding.refusal,
            origin=held.ref if held is not None else None,
            candidates=finding.candidates,
            found_in=finding.found_in,
            last_hop=finding.last_hop,
        )
        found.append((violation, sentences.about_field(finding, proposed.sender, way.to)))
    return found


def failing(
    contract: Contract, kept: Mapping[str, PackageField], blamed: Collection[str]
) -> list[tuple[Rule, str | None]]:
    """The rules that do not hold over an assembled context; with what could not be evaluated.

    A rule over a field that is `blamed` already says nothing new.
    """
    if not contract.rules:
        return []
    values = Members({name: value.value for name, value in kept.items()})
    found: list[tuple[Rule, str | None]] = []
    for rule in contract.rules:
        if any(name in blamed for name in rule.expression.reads):
            continue
        try:
            if not rule.expression.evaluate(values):
                found.append((rule, None))
        except EvaluationError as error:
            found.append((rule, error.kind))
    return found


def _rule_violations(
    contract: Contract,
    kept: Mapping[str, PackageField],
    broken: list[FieldResult],
    source: EventRef,
    now: int,
) -> list[tuple[OpenViolation, str]]:
    return [
        (
            OpenViolation(
                kind="rule_failed",
                subject=rule.name,
                version=contract.version,
                severity="info" if contract.trial else rule.severity,
                episode=1,
                event_id=source.event_id,
                occurred_at=source.occurred_at,
                detected_at=now,
                reason=reason,
            ),
            sentences.about_rule(rule.name, rule.message, reason),
        )
        for rule, reason in failing(contract, kept, {finding.name for finding in broken})
    ]


def _nobody_declared(
    contract: Contract | None, sender: From, source: EventRef, now: int
) -> tuple[OpenViolation, str]:
    assert contract is not None
    return (
        OpenViolation(
            kind="handoff_missing",
            subject=None,
            version=contract.version,
            severity=contract.severity_of("handoff_missing"),
            episode=1,
            event_id=source.event_id,
            occurred_at=source.occurred_at,
            detected_at=now,
        ),
        sentences.nobody_declared(sender, source.stage, contract.receiver),
    )


def _on_trial(
    trial: Contract,
    judged: AssembledContext,
    proposed: ProposedHandoff,
    way: Route,
    source: EventRef,
    now: int,
) -> list[tuple[OpenViolation, str]]:
    """What a trial version would have said of the same handoff."""
    found = _field_violations(trial, judged.broken, proposed, way=way, source=source, now=now)
    found += _rule_violations(trial, judged.values, judged.broken, source, now)
    return [(replace(violation, trial=trial.id), message) for violation, message in found]


def handoff_id(
    workflow: str,
    task_id: str,
    tool: str,
    event_id: str,
    contract: str | None,
    receiver: str,
    part: str | None,
) -> str:
    """The same input always gives the same id, so a redelivery after a crash changes nothing.

    16 bytes of BLAKE2b (RFC 7693) over the JSON array of what identifies the handoff.
    """
    identity = (workflow, task_id, tool, event_id, contract, receiver, part)
    return "h-" + blake2b(msgspec.json.encode(identity), digest_size=16).hexdigest()


def open_handoff(
    proposed: ProposedHandoff,
    verdict: Verdict,
    output: ToolOutput,
    source: EventRef,
    backfill: bool,
    hop: int,
    now: int,
) -> OpenHandoff:
    """The state of a handoff that has just been judged, before it is sent or held."""
    contract = verdict.route.contract
    to = verdict.route.to
    contract_id = contract.id if contract is not None else None
    return OpenHandoff(
        id=handoff_id(
            output.workflow,
            output.task_id,
            output.tool,
            event_id=output.id,
            contract=contract_id,
            receiver=to.receiver,
            part=proposed.part,
        ),
        contract=contract_id,
        version=contract.version if contract is not None else None,
        receiver=to.receiver,
        part=proposed.part,
        state="held" if verdict.holding else "sent",
        hop=hop,
        source=source,
        begun=proposed.begun,
        asked_to=proposed.asked.to,
        asked_contract=proposed.asked.named,
        team=proposed.sender.team,
        stage=proposed.sender.stage,
        tool=proposed.sender.tool,
        note=proposed.note,
        backfill=backfill,
        to_team=to.team,
        to_stage=to.stage,
        owner=to.owner,
        owner_contact=to.owner_contact,
        values=verdict.values,
        missing=verdict.missing,
        fidelity=verdict.fidelity,
        completeness=verdict.completeness,
        begun_at=now,
        elsewhere=contract is not None and contract.leads_out_of(output.workflow),
    )


def begun_again(
    handoff: OpenHandoff, contract: Contract | None, tables: RegistrySnapshot, workflow: str
) -> ProposedHandoff:
    """How a held handoff began, to be judged again under the contract version of today. One without
    a contract takes the one that there is for it now."""
    asked_to, named = handoff.asked_to, handoff.asked_contract
    if contract is None and handoff.contract is None:
        asked = asked_for(asked_to, named, tables.resolve(workflow, handoff.stage, asked_to, named))
    else:
        receiver = contract.receiver if contract is not None else handoff.receiver
        meant, by_spelling = receiver, False
        if asked_to != receiver:
            meant, by_spelling = tables.spelled.meant(asked_to) or (asked_to, False)
        mismatch = meant != receiver
        asked = Asked(
            to=asked_to,
            named=named,
            contract=contract,
            mismatch=mismatch,
            receiver=receiver,
            spelled=by_spelling and not mismatch,
        )
    sender = From(handoff.team, handoff.stage, handoff.tool)
    return ProposedHandoff(
        begun=handoff.begun,
        sender=sender,
        asked=asked,
        trial=None,
        part=handoff.part,
        note=handoff.note,
    )
