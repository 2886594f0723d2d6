"""What one input publishes about a task's handoffs, gathered in the order of the topics.

Records are written down as they come, and their bytes counted: one input may cause thousands.
"""

from collections.abc import Collection

from msgspec import Struct
from msgspec.structs import replace

from processors.contracts.compiled import Contract, severity_under
from processors.contracts.registry import RegistrySnapshot
from processors.integrity import publish
from processors.integrity.feed import Feed
from processors.integrity.state import OpenHandoff, OpenViolation
from processors.integrity.step import StepContext
from schemas.flow import Effect, Increment, Publish, Refused
from schemas.records import Ack, Amendment, Severity, SignalKind, To, ViolationKind
from schemas.serde import encode

PACKAGES = "handoff.packages"
HELD = "handoff.held"
VIOLATIONS = "handoff.violations"
SIGNALS = "handoff.signals"


class Outbox(Struct, gc=False):
    """Packages, violations and signals about the handoffs of one task.

    `most` is how many bytes of keys and values there may be. A record that causes more is
    `Refused`, as soon as that is so. A deadline or a sweep is not: nobody could send it again. The
    core looks whether it is `full`, and leaves the task's other handoffs to the next wake.

    Handoffs are given as drafts: what a handoff must remember of what is published (its open
    violations, how many signals there were) is noted in it.
    """

    step: StepContext
    tables: RegistrySnapshot
    feed: Feed
    most: int
    size: int = 0
    _packages: list[Publish] = []
    _violations: list[Publish] = []
    _signals: list[Publish] = []
    _counts: list[Increment] = []

    def effects(self) -> list[Effect]:
        """Packages first, each followed by its queue, then violations, signals and the feed."""
        return [
            *self._packages,
            *self._violations,
            *self._signals,
            *self._counts,
            *self.feed.adds(),
        ]

    @property
    def full(self) -> bool:
        """Whether there is as much as there may be."""
        return self.size >= self.most

    def _put(
        self,
        beside: list[Publish],
        topic: str,
        key: str,
        record: Struct,
        value: bytes | None = None,
    ) -> bytes:
        """One record, and how it is written down (`value`, where that is known)."""
        if value is None:
            value = encode(record)
        self.size = size = self.size + len(value) + len(key)
        if size > self.most and self.step.event_id is not None:
            raise too_much(self.most)
        beside.append(Publish(topic, key, record, value))
        return value

    def count(self, name: str, label: str = "") -> None:
        """Count a thing that happened."""
        self._counts.append(Increment(name, label))

    def contract_of(self, handoff: OpenHandoff) -> Contract | None:
        """The contract version that a handoff keeps."""
        return self.tables.version(handoff.contract, handoff.version)

    def package(self, handoff: OpenHandoff, contract: Contract | None, queue: str | None) -> None:
        """A revision of a package: held, or sent and to the queue, where there is one."""
        package = publish.package(self.step, handoff, contract)
        if handoff.state == "held":
            self._put(self._packages, HELD, handoff.id, package)
            return
        handoff.unqueued = queue is None
        value = self._put(self._packages, PACKAGES, self.step.task_id, package)
        if queue is not None:
            self._put(self._packages, queue, self.step.task_id, package, value)

    def not_held(self, handoff: OpenHandoff) -> None:
        """What is on the topic of the held ones is what is held."""
        self._packages.append(Publish(HELD, handoff.id, None))

    def severity(self, handoff: OpenHandoff, kind: ViolationKind) -> Severity:
        """The severity of a kind for a handoff."""
        return severity_under(self.contract_of(handoff), kind)

    def break_promise(
        self,
        handoff: OpenHandoff,
        kind: ViolationKind,
        message: str,
        reason: str | None = None,
        at: int | None = None,
        known: bool = False,
        severity: Severity | None = None,
    ) -> None:
        """Open a violation about the handoff as a whole; `known` as of `open`. `severity` is that
        of the kind, unless it is given."""
        violation = OpenViolation(
            kind=kind,
            subject=None,
            version=handoff.version,
            severity=severity or self.severity(handoff, kind),
            episode=1,
            event_id=self.step.event_id or handoff.source.event_id,
            occurred_at=self.step.occurred_at if at is None else at,
            detected_at=self.step.now,
            reason=reason,
        )
        self.open(handoff, violation, message, known)

    def open(
        self, handoff: OpenHandoff, violation: OpenViolation, message: str, known: bool = False
    ) -> None:
        """A violation begins, or begins again; `known`: insights knows of this break."""
        episode = handoff.episodes.get(violation.id(handoff), 0) + 1
        if episode > 1:
            violation = replace(violation, episode=episode)
        handoff.violations = (*handoff.violations, violation)
        record = publish.opened(self.step, self.tables, handoff, violation, message)
        self._put(self._violations, VIOLATIONS, self.step.task_id, record)
        if not known:
            self.feed.broken(handoff, violation, record)

    def resolve(
        self,
        handoff: OpenHandoff,
        gone: Collection[OpenViolation],
        resolution: str,
        mended: bool | None = None,
    ) -> None:
        """Violations that are `gone`; `resolution` is the stable word that says why. Whether their
        cause is `mended` follows from it, unless it is said."""
        self.resolve_each(handoff, [(violation, resolution, mended) for violation in gone])

    def resolve_each(
        self,
        handoff: OpenHandoff,
        gone: list[tuple[OpenViolation, str, bool | None]],
        to: To | None = None,
    ) -> None:
        """As `resolve`, for each violation with its own resolution, and whether it is mended. They
        were broken for the receiver `to`, where that is another one than the handoff's of now."""
        if not gone:
            return
        episodes = dict(handoff.episodes)
        for violation, resolution, mended in gone:
            episodes[violation.id(handoff)] = violation.episode
            record = publish.resolved(
                self.step,
                self.tables,
                handoff,
                violation=violation,
                resolution=resolution,
                broken_for=to,
            )
            self._put(self._violations, VIOLATIONS, self.step.task_id, record)
            if resolution in MENDING if mended is None else mended:
                self.feed.mended(handoff, violation, record)
        left = set(map(id, handoff.violations)) - {id(violation) for violation, _, _ in gone}
        handoff.violations = tuple([v for v in handoff.violations if id(v) in left])
        handoff.episodes = episodes

    def unknown(self, said: Ack | Amendment, reason: str, occurred_at: int) -> None:
        """What meets no open handoff of the task."""
        record = publish.unknown(self.step, said, reason, occurred_at)
        self._put(self._violations, VIOLATIONS, self.step.task_id, record)
        self.feed.unknown(record)

    def signal(
        self,
        handoff: OpenHandoff,
        kind: SignalKind,
        message: str,
        late: bool = False,
        at: int | None = None,
    ) -> None:
        """What the originating team is told."""
        handoff.signals += 1
        occurred_at = self.step.occurred_at if at is None else at
        record = publish.signal(
            self.step, handoff, kind, message=message, occurred_at=occurred_at, late=late
        )
        self._put(self._signals, SIGNALS, self.step.task_id, record)


# Resolutions that say that nobody has to mend it any more. Of one that was superseded, the one in
# its place tells what is still broken. What is completed or expired was not mended.
MENDING = frozenset(
    {
        "arrived_late",
        "amended",
        "receiver_there",
        "source_there",
        "owner_named",
        "judged_again",
        "superseded",
    }
)


def too_much(most: int) -> Refused:
    """Why a record that causes more than `most` bytes is not judged."""
    return Refused(
        "output_too_large",
        f"more than {most:,} bytes would follow from it, the limit (max_output_bytes); "
        "hand off in fewer parts, or send less context",
    )
