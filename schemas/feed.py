"""What integrity tells insights (`handoff.internal.feed`): parts of sums, one subject a record.

A part says by how much the figures of a subject rise. Parts of one subject add up to the same
figures in any order and in any grouping, so a transaction publishes one part a subject, however
many inputs it judged; of an edge one for each hour of event time, as its figures are told by hours.
No part holds a value of a context, but for those of a contract's `repeat`
that are not tagged.

A record's key is the subject, but for the patterns of a contract's fields: they have that of the
contract, `contract/ID`, as has what was judged on it. So they lie in one partition.

Subjects are paths: `move/WORKFLOW/FROM/TO` and `handoff/WORKFLOW/FROM/RECEIVER` for edges, and for
patterns their fingerprints (`contract/ID/KIND/FIELD`, `receiver/ID/KIND`,
`edge/WORKFLOW/FROM/RECEIVER/KIND`, `loop/WORKFLOW/STAGE/STAGE`, `workflow/ID/KIND`,
`repeat/CONTRACT/DIGEST`), those of replays with `replay/` before them.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from itertools import islice
from typing import Annotated, Final, Literal, TypeVar

from msgspec import Meta, Struct
from msgspec.structs import replace

from schemas.records import EpochMs

EdgeKind = Literal["move", "handoff"]
MAX_FIGURE = 1 << 40  # where a count stays: whatever is added up can be written down and read
Figure = Annotated[int, Meta(ge=0, le=MAX_FIGURE)]
Amount = Annotated[float, Meta(ge=0, le=MAX_FIGURE)]
Minute = Annotated[int, Meta(ge=-1 << 33, le=1 << 33)]  # of the calendar, and the bucket around it
Bucket = Annotated[int, Meta(ge=0, le=400)]

MAX_TASKS = 10  # sample tasks of a pattern
MAX_NAMES = 256  # names told apart under a subject: fields, stages, tools
HOUR_MS = 3_600_000
CLEAN_RUN = 20  # handoffs in a row without a field's violation close its pattern
# What is found whenever a handoff is judged. That people typed a value again is found later.
FOUND_BY_JUDGING = frozenset(
    {
        "context_dropped",
        "context_empty",
        "context_unstructured",
        "context_malformed",
        "context_shortened",
        "context_changed",
        "context_retracted",
        "never_captured",
        "untranslatable",
        "rule_failed",
    }
)

# Latencies are counted in buckets that grow by this factor: a percentile read from them is within
# 5 % (DDSketch: Masson, Rim, Lee, VLDB 2019). A month of milliseconds is 217 buckets.
GAMMA = 1.105

Key = TypeVar("Key", str, int)
Shared = TypeVar("Shared")


# A receiver that is not there fails all who send to it; where no contract is, the edge needs one.
BY_RECEIVER: Final = frozenset({"receiver_missing", "receiver_silent", "owner_missing"})
BY_EDGE: Final = frozenset({"contract_missing", "receiver_mismatch"})


def subject(*parts: str) -> str:
    """Parts as a path; `%` and `/` within a part are escaped as in a URL."""
    path = "/".join(parts)
    if "%" not in path and path.count("/") == len(parts) - 1:
        return path
    return "/".join([part.replace("%", "%25").replace("/", "%2F") for part in parts])


def fingerprint(
    kind: str,
    *,
    workflow: str,
    contract: str | None,
    about: str | None,
    stage: str | None,
    to_stage: str | None,
    receiver: str | None,
    source: str | None,
) -> str:
    """The pattern that a violation of a kind belongs to: what those of one cause have in common.
    `about` is the field or rule, `source` the one that is silent."""
    if kind in BY_RECEIVER and receiver is not None:
        return subject("receiver", receiver, kind)
    if kind == "source_silent":
        return subject("source", source or "", kind)
    if kind == "handoff_loop" and stage is not None:
        return subject("loop", workflow, *sorted((stage, to_stage or "")))
    if contract is not None:
        return subject("contract", contract, kind, *(() if about is None else (about,)))
    if kind in BY_EDGE and stage is not None and receiver is not None:
        return subject("edge", workflow, stage, receiver, kind)
    return subject("workflow", workflow, kind)


class EdgePart(Struct, frozen=True, gc=False, tag_field="of", tag="edge", omit_defaults=True):
    """By how much an edge rises.

    `counts` are by name (`EDGE_COUNTS`). `fields` counts the moves that carried a field, by field
    and JSON type. `accepted_in` counts acceptances by latency, as `latency_bucket` says.
    `fidelity` and `completeness` are sums over the `judged` handoffs of `counts`, `lost_fields`
    says which fields `lost` counts. `contract` is that of the latest handoff. `from_workflow` is
    that of the stage `from_`, which has it before it then (`ticket/answer`), where a task went on
    in another one. Times are event times in epoch ms, those of the moves and handoffs: what becomes
    of a handoff later has its time too.
    """

    kind: EdgeKind
    workflow: str
    from_: str
    to: str
    first_seen: EpochMs
    last_seen: EpochMs
    counts: dict[str, Figure] = {}
    fields: dict[str, dict[str, Figure]] = {}
    accepted_in: dict[Bucket, Figure] = {}
    fidelity: Amount = 0.0
    completeness: Amount = 0.0
    contract: str | None = None
    lost_fields: dict[str, Figure] = {}
    from_workflow: str | None = None

    def plus(self, other: "EdgePart") -> "EdgePart":
        """Both together: what `totals` makes of the two, but for the hours."""
        last, first = (other, self) if other.last_seen > self.last_seen else (self, other)
        contract = last.contract or None
        if first.last_seen == last.last_seen:
            contract = max(contract or "", first.contract or "") or None
        return EdgePart(
            kind=last.kind,
            workflow=last.workflow,
            from_=last.from_,
            to=last.to,
            first_seen=min(self.first_seen, other.first_seen),
            last_seen=last.last_seen,
            counts=_sum(self.counts, other.counts),
            fields=_sum_of_fields(self.fields, other.fields),
            accepted_in=_sum(self.accepted_in, other.accepted_in, None),
            fidelity=min(self.fidelity + other.fidelity, MAX_FIGURE),
            completeness=min(self.completeness + other.completeness, MAX_FIGURE),
            contract=contract,
            lost_fields=_sum(self.lost_fields, other.lost_fields),
            from_workflow=max(self.from_workflow or "", other.from_workflow or "") or None,
        )


# What `EdgePart.counts` counts. Of both kinds: `moves`, and `tasks`, that made their first one.
# Of moves: `bare` (no handoff had begun since the task came), `uncovered` (none on a contract),
# `ping_pongs` (back to where it just came from), `loops` (back to any stage where it was before).
# Of handoffs: `judged` (a contract covers it), `owned` (the receiver has a named owner),
# `promised` (with a deadline to accept), how it begun, what became of it, and what was found;
# `in_time` is accepted and completed, neither late; `returns` go back over a pair of
# stages, and `looped` are those of them that were told. `superseded` are those that had been sent,
# and one that a new contract version sends elsewhere is `closed` here and begins on another edge.
EDGE_COUNTS = (
    "moves",
    "tasks",
    "bare",
    "uncovered",
    "ping_pongs",
    "loops",
    "judged",
    "owned",
    "promised",
    "declared",
    "triggered",
    "implicit",
    "held",
    "sent",
    "accepted",
    "acked",
    "stalled",
    "in_time",
    "completed",
    "returned",
    "rejected",
    "superseded",
    "discarded",
    "expired",
    "closed",
    "required",
    "rebuilt",
    "lost",
    "reentered",
    "returns",
    "looped",
)


class Repeated(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a contract's `repeat` asks for. `values` are JSON texts by path, null where tagged."""

    threshold: Figure
    within_ms: Figure
    receiver: str
    values: dict[str, str | None]


class PatternPart(Struct, frozen=True, gc=False, tag_field="of", tag="pattern", omit_defaults=True):
    """By how much a pattern rises.

    `kind` is a violation's, or `repeat`. `minutes` counts by the minute of the event time (epoch
    minutes), `errors` those of severity error, `stages` and `tools` where they came from. `mended`
    counts those whose cause was mended since, `mended_errors` the errors among them. `tasks` are
    samples. `last_stage` and `last_tool` are where the value was last had, and with
    `contract_version`, `owner` and `owner_contact` those of the latest. Times are event times in
    epoch ms.
    """

    kind: str
    workflow: str
    first_seen: EpochMs
    last_seen: EpochMs
    minutes: dict[Minute, Figure]
    errors: Figure = 0
    stages: dict[str, Figure] = {}
    tools: dict[str, Figure] = {}
    tasks: tuple[str, ...] = ()
    contract: str | None = None
    receiver: str | None = None
    from_: str | None = None
    to: str | None = None
    field: str | None = None
    owner: str | None = None
    backfill: bool = False
    repeated: Repeated | None = None
    mended: Figure = 0
    mended_errors: Figure = 0
    owner_contact: str | None = None
    last_stage: str | None = None
    last_tool: str | None = None
    contract_version: int | None = None

    def plus(self, other: "PatternPart") -> "PatternPart":
        """Both together; what it is about is the later one's."""
        return _total_of_pattern([self, other])


class JudgedPart(Struct, frozen=True, gc=False, tag_field="of", tag="judged", omit_defaults=True):
    """When handoffs on a contract were judged, of whichever version: the event times (epoch ms) of
    the newest `CLEAN_RUN` handoffs, the newest first. Those of a replay are told apart."""

    contract: str
    times: Annotated[tuple[EpochMs, ...], Meta(min_length=1, max_length=CLEAN_RUN)]
    backfill: bool = False

    @property
    def last_seen(self) -> int:
        """The time of the newest."""
        return self.times[0]

    def plus(self, other: "JudgedPart") -> "JudgedPart":
        """Both together."""
        return replace(self, times=newest((*self.times, *other.times)))


Part = EdgePart | PatternPart | JudgedPart


def newest(times: Collection[int]) -> tuple[int, ...]:
    """The newest `CLEAN_RUN` of some times."""
    return tuple(sorted(times, reverse=True)[:CLEAN_RUN])


def contract_subject(contract: str, backfill: bool) -> str:
    """The subject of how often a contract was judged."""
    path = subject("contract", contract)
    return f"replay/{path}" if backfill else path


def is_of_field(part: PatternPart) -> bool:
    """Whether a pattern is of a field, or a rule, that is looked at whenever its contract is."""
    return part.kind in FOUND_BY_JUDGING and part.contract is not None and part.field is not None


def key_of(subject_: str, part: Part) -> str:
    """The key of the record of a subject's part: it says in which partition the subject lies."""
    if isinstance(part, PatternPart) and is_of_field(part):
        return contract_subject(part.contract or "", part.backfill)
    return subject_


def subject_of(key: str, part: Part) -> str:
    """The subject of a record's part. Of a pattern under its own name it is the key."""
    if isinstance(part, PatternPart) and key == key_of(key, part) and is_of_field(part):
        return f"{key}/{subject(part.kind, part.field or '')}"
    return key


def totals(parts: Collection[Part]) -> list[Part]:
    """The parts of one subject together, at least one: of an edge one part for each hour."""
    hours: defaultdict[int, list[EdgePart]] = defaultdict(list)
    patterns: list[PatternPart] = []
    times: list[int] = []
    for part in parts:
        if isinstance(part, EdgePart):
            hours[part.last_seen // HOUR_MS].append(part)
        elif isinstance(part, PatternPart):
            patterns.append(part)
        else:
            judged = part
            times += part.times
    if times:
        return [replace(judged, times=newest(times))]
    if not hours:
        return [_total_of_pattern(patterns)]
    return [_total_of_edge(each) for each in hours.values()]


def _total_of_edge(parts: list[EdgePart]) -> EdgePart:
    """Parts made in one process often share their counts and fields, the very objects: those are
    added up once."""
    counts: dict[str, int] = {}
    for each, times in _alike([part.counts for part in parts]):
        _add_to(counts, each, times=times)
    fields: dict[str, dict[str, int]] = {}
    for carried, times in _alike([part.fields for part in parts]):
        _add_fields_to(fields, carried, times)
    accepted_in: dict[int, int] = {}
    lost_fields: dict[str, int] = {}
    fidelity = completeness = 0.0
    last = parts[0]
    for part in parts:
        if part.last_seen > last.last_seen:
            last = part
        if part.accepted_in:
            _add_to(accepted_in, part.accepted_in, None)
        if part.lost_fields:
            _add_to(lost_fields, part.lost_fields)
        fidelity += part.fidelity
        completeness += part.completeness
    # Of several that came last, any one, but the same in any order.
    contracts = [part.contract for part in parts if part.last_seen == last.last_seen]
    return EdgePart(
        kind=last.kind,
        workflow=last.workflow,
        from_=last.from_,
        to=last.to,
        first_seen=min([part.first_seen for part in parts]),
        last_seen=last.last_seen,
        counts=counts,
        fields=fields,
        accepted_in=accepted_in,
        fidelity=min(fidelity, MAX_FIGURE),
        completeness=min(completeness, MAX_FIGURE),
        contract=max(filter(None, contracts), default=None),
        lost_fields=lost_fields,
        from_workflow=max(
            [part.from_workflow for part in parts if part.from_workflow], default=None
        ),
    )


def _total_of_pattern(parts: list[PatternPart]) -> PatternPart:
    parts.sort(key=lambda part: part.last_seen)
    minutes: dict[int, int] = {}
    stages: dict[str, int] = {}
    tools: dict[str, int] = {}
    tasks: dict[str, None] = {}
    for part in parts:
        _add_to(minutes, part.minutes, None)
        _add_to(stages, part.stages)
        _add_to(tools, part.tools)
        if len(tasks) < MAX_TASKS:
            tasks.update(dict.fromkeys(part.tasks))
    return replace(
        parts[-1],
        first_seen=min([part.first_seen for part in parts]),
        minutes=minutes,
        errors=min(sum([part.errors for part in parts]), MAX_FIGURE),
        mended=min(sum([part.mended for part in parts]), MAX_FIGURE),
        mended_errors=min(sum([part.mended_errors for part in parts]), MAX_FIGURE),
        stages=stages,
        tools=tools,
        tasks=tuple(tasks)[:MAX_TASKS],
        repeated=_told_of_all([part.repeated for part in parts]),
    )


def _told_of_all(all_: list[Repeated | None]) -> Repeated | None:
    """The last one, without the values that one of them does not tell: they are the same ones."""
    last = all_[-1]
    if last is None:
        return None
    masked = {path for each in all_ if each for path, value in each.values.items() if value is None}
    shown = {path: None if path in masked else value for path, value in last.values.items()}
    return last if shown == last.values else replace(last, values=shown)


def _alike(many: list[Shared]) -> list[tuple[Shared, int]]:
    """Each object once, with how often it is there."""
    ids = list(map(id, many))
    times = Counter(ids)
    return [(each, times[id_]) for id_, each in dict(zip(ids, many, strict=True)).items()]


def add_fields(
    have: Mapping[str, Mapping[str, int]], more: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, int]]:
    """Counts by field and JSON type together. Beyond `MAX_NAMES` fields no new one is taken."""
    found = {name: dict(types) for name, types in have.items()}
    _add_fields_to(found, more, 1)
    return found


def _sum(
    have: dict[Key, int], more: dict[Key, int], most: int | None = MAX_NAMES
) -> dict[Key, int]:
    """Two counts together; the result may be one of them, so nobody may change it."""
    if most is not None and len(have) > most:
        have = dict(islice(have.items(), most))
    if not more:
        return have
    found = have.copy()
    for key, number in more.items():
        before = found.get(key)
        if before is not None:
            sum_ = before + number
            found[key] = sum_ if sum_ < MAX_FIGURE else MAX_FIGURE
        elif most is None or len(found) < most:
            found[key] = number
    return found


def _sum_of_fields(
    have: dict[str, dict[str, int]], more: dict[str, dict[str, int]]
) -> dict[str, dict[str, int]]:
    """As `_sum`, of counts by field and JSON type."""
    if len(have) > MAX_NAMES:
        have = dict(islice(have.items(), MAX_NAMES))
    if not more:
        return have
    found = have.copy()
    for name, types in more.items():
        before = found.get(name)
        if before is not None:
            found[name] = _sum(before, types)
        elif len(found) < MAX_NAMES:
            found[name] = types
    return found


def _add_to(
    found: dict[Key, int], more: Mapping[Key, int], most: int | None = MAX_NAMES, times: int = 1
) -> None:
    for key, number in more.items():
        before = found.get(key)
        if before is not None:
            found[key] = min(before + number * times, MAX_FIGURE)
        elif most is None or len(found) < most:
            found[key] = min(number * times, MAX_FIGURE)


def _add_fields_to(
    found: dict[str, dict[str, int]], more: Mapping[str, Mapping[str, int]], times: int
) -> None:
    for name, types in more.items():
        before = found.get(name)
        if before is not None:
            _add_to(before, types, times=times)
        elif len(found) < MAX_NAMES:
            found[name] = {type_: min(each * times, MAX_FIGURE) for type_, each in types.items()}


def latency_bucket(ms: int) -> int:
    """The bucket of a latency in milliseconds."""
    return math.ceil(math.log(max(ms, 1)) / math.log(GAMMA))


def bucket_ms(bucket: int) -> int:
    """A latency in milliseconds that stands for its bucket."""
    return round(2 * GAMMA**bucket / (GAMMA + 1))
