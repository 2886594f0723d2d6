"""What the processor remembers of a task, and how it is written down.

State is MessagePack of arrays: compact, quick to read back, and extended only by appending fields
with defaults, so that an older changelog can always be read. Times are epoch milliseconds.
"""

from typing import Literal

import msgspec
from msgspec import Struct

from schemas.records import Origin
from schemas.wire import utc

# What nobody needs to set; what a person may want to is in `limits`.
MAX_RETRACTED = 64 << 10  # bytes of retracted names
MAX_CANDIDATES = 16  # distinct values told apart under a name: beyond "several" nobody counts
MAX_BEHIND = 4  # overwritten objects kept behind a newer one
MAX_EVENTS = 256  # last events of a task by which a repeated one is known


class Capture(Struct, frozen=True, array_like=True, gc=False):
    """The latest value under a name, with its origin.

    `value` is raw JSON, None where it was too large to keep. `hashes` are the digests of the
    distinct values that the task has held under the name; empty while the value at hand is the
    only one. `behind` are overwritten objects that have a member the newer one lacks, newest first.
    `hop` is the last handoff that carried it (0: none did). `alias_of` is the sender's name where
    this is a value as a package put it; such values are no candidates.
    """

    value: bytes | None
    stage: str
    tool: str
    event_id: str
    occurred_at: int
    topic: str
    partition: int
    offset: int
    hop: int = 0
    hashes: tuple[bytes, ...] = ()
    behind: tuple["Capture", ...] = ()
    alias_of: str | None = None

    def origin(self) -> Origin:
        """The origin as it is published."""
        return Origin(
            self.stage,
            self.tool,
            self.event_id,
            utc(self.occurred_at),
            self.topic,
            self.partition,
            self.offset,
        )

    def candidates(self) -> int:
        """How many distinct values the task has held under this name itself."""
        if self.hashes:
            return len(self.hashes)
        return 0 if self.alias_of is not None else 1


class OpenHandoff(Struct, frozen=True, array_like=True, gc=False):
    """A handoff that has begun and is not closed. Its slot is (contract, receiver, part)."""

    id: str
    contract: str | None
    version: int | None
    receiver: str
    part: str | None
    state: Literal["sent", "held"]
    hop: int
    occurred_at: int


class Task(Struct, frozen=True, array_like=True, gc=False):
    """One task. `advance` never changes one: it makes the next.

    `retracted` maps a name to the time of its retraction. `size` is an upper bound of the bytes of
    all captures. `hops` counts the handoffs so far. `events` holds eight bytes for each of the last
    events. `last_input_at` is processor time.
    """

    workflow: str
    task_id: str
    captures: dict[str, Capture] = {}
    retracted: dict[str, int] = {}
    size: int = 0
    hops: int = 0
    open: tuple[OpenHandoff, ...] = ()
    events: bytes = b""
    last_input_at: int = 0


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Task).decode


def state_key(workflow: str, task_id: str) -> str:
    """The key of a task's state: readable, and different for different tasks.

    The workflow's own slashes are percent-encoded, so the first slash always ends it.
    """
    if "/" in workflow or "%" in workflow:
        workflow = workflow.replace("%", "%25").replace("/", "%2F")
    return f"{workflow}/{task_id}"
