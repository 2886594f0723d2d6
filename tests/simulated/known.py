"""What a handoff, a package and a state must be like in themselves, whatever came before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from msgspec import Struct

from processors.contracts.compiled import Contract
from processors.contracts.tables import Tables
from processors.integrity import state
from processors.integrity.state import Task
from processors.processor import Processor
from schemas.flow import Arrival, Input, Output
from schemas.records import Package, Violation


class Broken(Exception):
    """Something that must hold does not: `rule` names what, a stable word; then a sentence."""

    def __init__(self, rule: str, sentence: str) -> None:
        super().__init__(f"{rule}: {sentence}")
        self.rule = rule


def must(holds: object, rule: str, sentence: str) -> None:
    if not holds:
        raise Broken(rule, sentence)


class Call(Struct, frozen=True):
    """One advance: what the core was given, and what it gave."""

    task: str
    given: Input
    now: int
    tables: Tables
    before: Task | None
    after: Task | None
    emitted: int  # records


@dataclass
class Known:
    """A handoff as its records tell of it."""

    id: str
    task: str
    package: Package
    state: str  # held, sent, accepted, closed
    backfill: bool = False
    took: bool = False  # somebody accepted it, or one before it in its slot
    way: str = ""
    signals: int = 0
    told: str = ""  # what the sender was told last: held or sent
    fidelity: float | None = None  # when it was sent
    open: dict[str, Violation] = field(default_factory=dict)
    trial: set[str] = field(default_factory=set)  # which of the open a trial version found
    episodes: dict[str, int] = field(default_factory=dict)


def is_whole(call: Call, known: Known, package: Package, released: bool) -> None:
    """Its missing fields, its shares and its violations agree with what it carries."""
    contract = call.tables.version(package.contract, package.contract_version)
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
    _is_rightly_held(package, contract, own, released)


def _is_rightly_held(
    package: Package, contract: Contract | None, own: Iterable[Violation], released: bool
) -> None:
    hold_on = contract.hold_on if contract is not None else {"receiver_missing"}
    holding = [
        v.kind
        for v in own
        if (v.kind in hold_on or "any" in hold_on)
        and v.kind != "held_too_long"
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


def is_pure(
    processor: Processor[Task], task: Task | None, encoded: bytes, after: Task | None
) -> None:
    if task is not None:
        must(processor.encode(task) == encoded, "pure", "advance changed its task")
    if after is not None and after is not task:
        again = processor.decode(processor.encode(after))
        must(again == after, "state", "a state is another one when it is read back")


def task_key(task: Task | None, given: Input) -> str:
    if task is None:
        assert isinstance(given, Arrival)
        return state.state_key(given.body.workflow, given.body.task_id)
    return state.state_key(task.workflow, task.task_id)


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
