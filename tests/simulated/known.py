"""What is known of a handoff and of a task from their records, and what a package must be like."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from processors.contracts.compiled import Contract
from schemas.flow import Output
from schemas.records import Package, Violation
from schemas.serde import epoch_ms
from tests.simulated.watched import CoreCall

MAX_EVENTS: Final = 256  # last events of a task by which a repeated one is known


class BrokenRule(Exception):
    """Something that must hold does not: `rule` names what, a stable word; then a sentence."""

    def __init__(self, rule: str, sentence: str) -> None:
        super().__init__(f"{rule}: {sentence}")
        self.rule = rule


def must(holds: object, rule: str, sentence: str) -> None:
    if not holds:
        raise BrokenRule(rule, sentence)


@dataclass
class Known:
    """A handoff as its records tell of it. Times are epoch ms; 0: there is none."""

    id: str
    task: str
    package: Package
    state: str  # held, sent, accepted, closed
    partition: int = 0
    begun_at: int = 0
    release_by: int = 0
    closes_at: int = 0  # by itself: accepted before it was sent, and nothing more is promised
    backfill: bool = False
    took: bool = False  # somebody accepted it, or one before it in its slot
    ended: bool = False  # it may have been completed before it was told so
    way: str = ""
    signals: int = 0
    told: str = ""  # what the sender was told last: held or sent
    fidelity: float | None = None  # when it was sent
    open: dict[str, Violation] = field(default_factory=dict)
    trial: set[str] = field(default_factory=set)  # which of the open a trial version found
    episodes: dict[str, int] = field(default_factory=dict)
    missed: set[str] = field(default_factory=set)  # deadlines, by the kind of their violation

    def deadlines(self) -> dict[str, int]:
        """All that were ever promised, by the kind of violation that they lead to."""
        by = {kind: promised(self.package, kind) for kind in ("not_accepted", "not_completed")}
        by["held_too_long"] = self.release_by
        return {kind: at for kind, at in by.items() if at}

    def running(self) -> dict[str, int]:
        """The deadlines that run."""
        kinds = {"held": {"held_too_long"}, "sent": {"not_accepted", "not_completed"}}
        run = kinds.get(self.state, {"not_completed"}) - self.missed
        return {kind: at for kind, at in self.deadlines().items() if kind in run}


@dataclass
class Remembered:
    """A task that the processor has not forgotten."""

    partition: int
    last_input_at: int
    events: deque[tuple[str, ...]] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))


def promised(package: Package, kind: str) -> int:
    """The deadline of a package whose violation is of this kind (epoch ms); 0: there is none."""
    by = package.accept_by if kind == "not_accepted" else package.complete_by
    return 0 if by is None else epoch_ms(by)


def contract_of(call: CoreCall, package: Package) -> Contract | None:
    """The contract version that a package names."""
    found: Contract | None = call.tables.version(package.contract, package.contract_version)
    return found


def is_all(call: CoreCall, package: Package) -> bool:
    """Whether nothing is promised beyond acceptance."""
    contract = contract_of(call, package)
    if contract is None:
        return package.complete_by is None
    return contract.complete_within is None


def is_whole(call: CoreCall, known: Known, package: Package, released: bool) -> None:
    """Its missing fields, its shares and its violations agree with what it carries."""
    contract = contract_of(call, package)
    id_ = package.id
    must(package.context.keys() == package.provenance.keys(), "provenance", id_)
    if contract is None:
        must(
            (package.fidelity, package.completeness, package.missing) == (None, None, []),
            "shares",
            f"{id_} has no contract",
        )
    else:
        lacks = [f.name for f in contract.fields if f.name not in package.context]
        must(package.missing == lacks, "missing", f"{id_}: {package.missing}, lacks {lacks}")
        good = [n for n, p in package.provenance.items() if p.how != "as_sent"]
        must(
            package.completeness == _share(contract, good),
            "shares",
            f"{id_}: completeness {package.completeness}, has {_share(contract, good)}",
        )
        must(
            (package.fidelity or 0) <= (package.completeness or 0),
            "shares",
            f"{id_}: fidelity {package.fidelity} of {package.completeness}",
        )
    if known.state == "closed":
        return
    own = [v for v in known.open.values() if v.id not in known.trial]
    listed = package.violations
    must(
        sorted(listed) == sorted(v.id for v in own),
        "listed",
        f"{id_} lists {listed}, open are {[v.id for v in own]}",
    )
    # What a version found on trial holds nothing, and stands where it is in force by now.
    earlier = [
        v
        for v in known.open.values()
        if v.id in known.trial and v.contract_version == package.contract_version
    ]
    _is_rightly_held(package, contract, own, earlier, released)


def _is_rightly_held(
    package: Package,
    contract: Contract | None,
    own: Iterable[Violation],
    earlier: Iterable[Violation],
    released: bool,
) -> None:
    hold_on = contract.hold_on if contract is not None else {"receiver_missing"}
    found = [*own, *earlier] if package.disposition == "held" else own
    holding = [
        v.kind
        for v in found
        if (v.kind in hold_on or "any" in hold_on)
        and v.kind not in ("held_too_long", "handoff_loop")
        and not (v.field in package.provenance and package.provenance[v.field].how == "rebuilt")
    ]
    if package.disposition == "held":
        must(holding, "hold", f"{package.id} is held, and nothing holds it")
        must(package.begun != "implicit", "hold", f"{package.id} is implicit, and held")
    elif released and package.begun != "implicit":
        must(
            package.overridden or not holding,
            "hold",
            f"{package.id} is sent although {holding} hold it",
        )


def _share(contract: Contract, names: Sequence[str]) -> float:
    total = have = 0.0
    for wanted in contract.fields:
        if wanted.required:
            total += wanted.weight
            have += wanted.weight if wanted.name in names else 0
    return have / total if total else 1.0


def trace(output: Output) -> str:
    headers = dict(output.headers)
    exception = headers["__streams.errors.exception"].decode()
    return f"{exception}\n{headers['__streams.errors.stacktrace'].decode()}"
