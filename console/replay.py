"""One recording judged twice, by the contracts as they are and as they would be: what is different.

Handoffs are compared one by one. The same input gives the same handoff id, as long as contract and
receiver are the same; else a handoff is known again by the output that made it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field

import msgspec
from msgspec import Struct

from console.cards import HELD, PACKAGES, VIOLATIONS
from processors.contracts.change import RANK
from schemas.flow import Output
from schemas.records import Begun, Disposition, Severity, Utc
from schemas.serde import epoch_ms

SAMPLES = 5


class _To(Struct):
    receiver: str


class _Package(Struct):
    id: str
    workflow: str
    task_id: str
    event_id: str
    contract: str | None
    to: _To
    disposition: Disposition
    begun: Begun
    fidelity: float | None
    completeness: float | None
    occurred_at: Utc


class _Violation(Struct):
    status: str
    kind: str
    severity: Severity
    handoff_id: str | None
    field: str | None
    rule: str | None


_package = msgspec.json.Decoder(_Package).decode
_violation = msgspec.json.Decoder(_Violation).decode

Broken = tuple[str, str | None, str | None]  # kind, field, rule


@dataclass
class ReplayedHandoff:
    """What one run made of a handoff.

    `held` says whether it was held when it was judged first. `broken` has the highest rank of each
    violation that was ever opened: 1 warning, 2 error; info counts as none. `completeness` is that
    of its last package, with what came later.
    """

    id: str
    workflow: str
    task_id: str
    event_id: str
    contract: str | None
    receiver: str
    begun: Begun
    held: bool
    fidelity: float | None
    completeness: float | None
    occurred_at: int
    broken: dict[Broken, int] = field(default_factory=dict)


class Run:
    """The handoffs of one run, by id, in the order in which they began."""

    def __init__(self) -> None:
        self.handoffs: dict[str, ReplayedHandoff] = {}
        self.dead_letters = 0

    def note(self, output: Output) -> None:
        """Take one published record."""
        if output.topic == "handoff.dead-letters":
            self.dead_letters += 1
        elif output.value is None:
            return
        elif output.topic in (PACKAGES, HELD):
            self._package(_package(output.value))
        elif output.topic == VIOLATIONS:
            self._violation(_violation(output.value))

    def _package(self, found: _Package) -> None:
        known = self.handoffs.get(found.id)
        if known is not None:
            known.completeness = found.completeness
            return
        self.handoffs[found.id] = ReplayedHandoff(
            found.id,
            found.workflow,
            found.task_id,
            event_id=found.event_id,
            contract=found.contract,
            receiver=found.to.receiver,
            begun=found.begun,
            held=found.disposition == "held",
            fidelity=found.fidelity,
            completeness=found.completeness,
            occurred_at=epoch_ms(found.occurred_at),
        )

    def _violation(self, found: _Violation) -> None:
        known = self.handoffs.get(found.handoff_id or "")
        # An ack that fits no handoff says nothing of a contract.
        if known is None or found.status != "opened" or found.kind == "unknown_handoff":
            return
        rank = RANK[found.severity]
        broken = found.kind, found.field, found.rule
        if rank > known.broken.get(broken, 0):
            known.broken[broken] = rank


class Sample(Struct):
    """Handoffs, and the tasks of the first few of them."""

    handoffs: int = 0
    tasks: list[str] = []

    def note(self, handoff: ReplayedHandoff) -> None:
        """Count one."""
        self.handoffs += 1
        if len(self.tasks) < SAMPLES and handoff.task_id not in self.tasks:
            self.tasks.append(handoff.task_id)


class Of(Struct):
    """A sample of one cause: a violation of a field or a rule, by kind.

    `errors` are those of the handoffs where it is an error, not a warning; a dropped field that was
    rebuilt is a warning.
    """

    kind: str
    field: str | None
    rule: str | None
    handoffs: int
    errors: int
    tasks: list[str]


class Begins(Struct):
    """A sample of handoffs that began in one way."""

    begun: str
    handoffs: int
    tasks: list[str]


class Failures(Struct):
    """How many handoffs have violations that they had not, or heavier ones; and which."""

    handoffs: int
    by: list[Of]


class Shares(Struct):
    """A mean over the handoffs that a contract covers; null where there is none."""

    before: float | None
    after: float | None


class Numbers(Struct):
    """Handoffs before and after, and those of them that the tried contracts judge or judged."""

    before: int
    after: int
    concerned: int


class Difference(Struct):
    """What a change of contracts does to the handoffs of a recording.

    `newly_failing` counts a handoff once, and under each of its new violations; a violation that
    was a warning and is an error is new, too. `not_begun` are those that began before and do not.
    """

    contracts: list[str]
    handoffs: Numbers
    newly_failing: Failures
    newly_passing: Failures
    newly_held: Sample
    no_longer_held: Sample
    newly_begun: list[Begins]
    not_begun: list[Begins]
    fidelity: Shares
    completeness: Shares

    @property
    def harms(self) -> bool:
        """Whether anything newly fails or is held."""
        return bool(self.newly_failing.handoffs or self.newly_held.handoffs)


Pair = tuple[ReplayedHandoff | None, ReplayedHandoff | None]


def compare(before: Run, after: Run, tried: Iterable[str], since: int | None = None) -> Difference:
    """Compare two runs; `tried` are the changed contracts, `ID@VERSION`.

    Handoffs before `since` (epoch ms of event time) are left out.
    """
    names = sorted(tried)
    ids = {name.rpartition("@")[0] for name in names}
    pairs = [
        pair
        for pair in matched(before.handoffs.values(), after.handoffs.values())
        if all(each is None or since is None or each.occurred_at >= since for each in pair)
    ]
    concerned = [
        pair for pair in pairs if any(each is not None and each.contract in ids for each in pair)
    ]
    held, freed = Sample(), Sample()
    for was, now in pairs:
        was_held, is_held = was is not None and was.held, now is not None and now.held
        if now is not None and is_held and not was_held:
            held.note(now)
        elif was is not None and now is not None and was_held and not is_held:
            freed.note(now)
    return Difference(
        names,
        Numbers(
            sum(was is not None for was, _ in pairs),
            sum(now is not None for _, now in pairs),
            len(concerned),
        ),
        _failures((was, now) for was, now in pairs if now is not None),
        # Of what does not begin any more nothing passes.
        newly_passing=_failures(
            (now, was) for was, now in pairs if was is not None and now is not None
        ),
        newly_held=held,
        no_longer_held=freed,
        newly_begun=_begins(now for was, now in pairs if was is None),
        not_begun=_begins(was for was, now in pairs if now is None),
        fidelity=Shares(
            _mean(was.fidelity for was, _ in concerned if was is not None),
            _mean(now.fidelity for _, now in concerned if now is not None),
        ),
        completeness=Shares(
            _mean(was.completeness for was, _ in concerned if was is not None),
            _mean(now.completeness for _, now in concerned if now is not None),
        ),
    )


def matched(before: Iterable[ReplayedHandoff], after: Iterable[ReplayedHandoff]) -> Iterator[Pair]:
    """Each handoff with its like in the other run, None where it has none there.

    By id; of the rest by output and receiver, and what is left then by output alone, in the order
    in which they began.
    """
    keys: tuple[Callable[[ReplayedHandoff], Hashable], ...] = (
        lambda each: each.id,
        lambda each: (each.workflow, each.task_id, each.event_id, each.receiver),
        lambda each: (each.workflow, each.task_id, each.event_id),
    )
    left, right = list(before), list(after)
    for key in keys:
        waiting: dict[Hashable, list[ReplayedHandoff]] = defaultdict(list)
        for now in reversed(right):
            waiting[key(now)].append(now)
        rest, taken = [], set()
        for was in left:
            likes = waiting.get(key(was))
            if likes:
                now = likes.pop()
                taken.add(now.id)
                yield was, now
            else:
                rest.append(was)
        left, right = rest, [now for now in right if now.id not in taken]
    yield from ((was, None) for was in left)
    yield from ((None, now) for now in right)


def _failures(pairs: Iterable[Pair]) -> Failures:
    """The handoffs of the second side with violations that are heavier than on the first side."""
    found: dict[Broken, Sample] = defaultdict(Sample)
    errors: Counter[Broken] = Counter()
    handoffs = 0
    for was, now in pairs:
        if now is None:
            continue
        worse = [
            broken
            for broken, rank in now.broken.items()
            if rank > (was.broken.get(broken, 0) if was is not None else 0)
        ]
        handoffs += bool(worse)
        for broken in worse:
            found[broken].note(now)
            errors[broken] += now.broken[broken] == RANK["error"]
    by = [Of(*broken, each.handoffs, errors[broken], each.tasks) for broken, each in found.items()]
    return Failures(handoffs, sorted(by, key=lambda each: (-each.handoffs, str(each))))


def _begins(handoffs: Iterable[ReplayedHandoff | None]) -> list[Begins]:
    found: dict[str, Sample] = defaultdict(Sample)
    for each in handoffs:
        if each is not None:
            found[each.begun].note(each)
    return [Begins(begun, each.handoffs, each.tasks) for begun, each in sorted(found.items())]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
