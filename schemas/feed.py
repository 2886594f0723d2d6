"""What integrity tells insights (`handoff.internal.feed`): parts of sums, one subject a record.

A part says by how much the figures of a subject rise. Parts of one subject add up to the same
figures in any order and in any grouping, so a transaction publishes one part a subject, however
many inputs it judged. No part holds a value of a context, but for those of a contract's `repeat`
that are not tagged.

Subjects are paths: `move/WORKFLOW/FROM/TO` and `handoff/WORKFLOW/FROM/RECEIVER` for edges, and for
patterns their fingerprints (`contract/ID/KIND/FIELD`, `receiver/ID/KIND`,
`edge/WORKFLOW/FROM/RECEIVER/KIND`, `workflow/ID/KIND`, `repeat/CONTRACT/DIGEST`), those of replays
with `replay/` before them.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

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

# Latencies are counted in buckets that grow by this factor: a percentile read from them is within
# 5 % (DDSketch: Masson, Rim, Lee, VLDB 2019). A month of milliseconds is 217 buckets.
GAMMA = 1.105

Key = TypeVar("Key", str, int)


def subject(*parts: str) -> str:
    """Parts as a path; `%` and `/` within a part are escaped as in a URL."""
    return "/".join([part.replace("%", "%25").replace("/", "%2F") for part in parts])


class EdgePart(Struct, frozen=True, gc=False, tag_field="of", tag="edge", omit_defaults=True):
    """By how much an edge rises.

    `counts` are by name (`EDGE_COUNTS`). `fields` counts the moves that carried a field, by field
    and JSON type. `accepted_in` counts acceptances by latency, as `latency_bucket` says.
    `fidelity` and `completeness` are sums over the `judged` handoffs of `counts`. `contract` is
    that of the latest handoff. Times are event times in epoch ms.
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

    def plus(self, other: "EdgePart") -> "EdgePart":
        """Both together."""
        later = other if other.last_seen >= self.last_seen else self
        fields = self.fields
        if other.fields:
            fields = dict(fields)
            for name, types in other.fields.items():
                have = fields.get(name)
                if have is not None or len(fields) < MAX_NAMES:
                    fields[name] = add(have or {}, types)
        return EdgePart(
            self.kind,
            self.workflow,
            self.from_,
            self.to,
            min(self.first_seen, other.first_seen),
            later.last_seen,
            add(self.counts, other.counts),
            fields,
            add(self.accepted_in, other.accepted_in),
            min(self.fidelity + other.fidelity, MAX_FIGURE),
            min(self.completeness + other.completeness, MAX_FIGURE),
            later.contract or self.contract or other.contract,
        )


# What `EdgePart.counts` counts. Of both kinds: `moves`, and `tasks`, that made their first one.
# Of moves: `bare` (no handoff had begun since the task came), `uncovered` (none on a contract),
# `ping_pongs` (back to where it just came from), `loops` (back to any stage where it was before).
# Of handoffs: `judged` (a contract covers it), `owned` (the receiver has a named owner),
# `promised` (with a deadline to accept), how it begun, what became of it, and what was found;
# `in_time` is accepted and completed, neither late.
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
    minutes), `errors` those of severity error, `stages` and `tools` where they came from. `tasks`
    are samples. Times are event times in epoch ms.
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

    def plus(self, other: "PatternPart") -> "PatternPart":
        """Both together; what it is about is the later one's."""
        earlier, later = (self, other) if other.last_seen >= self.last_seen else (other, self)
        tasks = tuple(dict.fromkeys(earlier.tasks + later.tasks))[:MAX_TASKS]
        return replace(
            later,
            first_seen=min(self.first_seen, other.first_seen),
            minutes=add(self.minutes, other.minutes, None),
            errors=min(self.errors + other.errors, MAX_FIGURE),
            stages=add(self.stages, other.stages),
            tools=add(self.tools, other.tools),
            tasks=tasks,
        )


Part = EdgePart | PatternPart


def add(
    have: Mapping[Key, int], more: Mapping[Key, int], most: int | None = MAX_NAMES
) -> dict[Key, int]:
    """Counts together, each up to `MAX_FIGURE`. Beyond `most` keys no new one is taken."""
    found = dict(have)
    for key, number in more.items():
        before = found.get(key)
        if before is not None:
            found[key] = min(before + number, MAX_FIGURE)
        elif most is None or len(found) < most:
            found[key] = number
    return found


def latency_bucket(ms: int) -> int:
    """The bucket of a latency in milliseconds."""
    return math.ceil(math.log(max(ms, 1)) / math.log(GAMMA))


def bucket_ms(bucket: int) -> int:
    """A latency in milliseconds that stands for its bucket."""
    return round(2 * GAMMA**bucket / (GAMMA + 1))
