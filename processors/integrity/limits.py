"""How much of a task is remembered, and how much one record may bring: settings, with reasons."""

from msgspec import Struct


class Limits(Struct, frozen=True, gc=False):
    """The limits of docs/operations.md. Bytes, counts, and times in milliseconds.

    `record_bytes`: an input record; a larger one would let one tool fill a task's whole state.
    `fields`: names a task may hold values of; more is a log, not a context. Beyond them the oldest
    outputs are forgotten.
    `value_bytes`: a captured value; a larger one is carried on, but not kept for a rebuild.
    `state_bytes`: all that a task remembers of its outputs (beyond it the oldest are forgotten),
    and as much again for its open handoffs; together they must fit into one changelog record.
    `open_handoffs`: a task's open handoffs; beyond them the oldest expires.
    `output_bytes`: keys and values of all that one record publishes. A record of 1 MiB may hand off
    in 16 parts, each to `handoff.packages` and a queue, with a violation for each field: what
    follows from one is held in memory, and travels in one transaction, which has ten seconds.
    `backfill_after_ms`: a record older than this by its Kafka timestamp is a replay.
    `handoff_ttl_ms`: an open handoff expires after this; who has not asked by then will not.
    `task_ttl_ms`: a task without open handoffs is forgotten this long after its last input.
    `early_grace_ms`: how long an implicit handoff waits for the declared one that is on its way.
    `repeat_grace_ms`: so long (event time) a handoff that comes again is a tool that tries again.
    `link_grace_ms`: so long a task waits for what the tasks know that it continues.
    Both times to live may be None: nothing expires.
    `live_grace_ms`: so long a receiver's group may be without a member, as while it is deployed.
    `stale_liveness_ms`: what a probe found longer ago says nothing any more about a receiver.
    """

    record_bytes: int = 1 << 20
    fields: int = 256
    value_bytes: int = 64 << 10
    state_bytes: int = 1 << 20
    open_handoffs: int = 64
    backfill_after_ms: int = 86_400_000
    handoff_ttl_ms: int | None = 30 * 86_400_000
    task_ttl_ms: int | None = 30 * 86_400_000
    early_grace_ms: int = 60_000
    repeat_grace_ms: int = 600_000
    live_grace_ms: int = 600_000
    stale_liveness_ms: int = 25_000
    output_bytes: int = 16 << 20
    link_grace_ms: int = 5_000


DEFAULT_LIMITS = Limits()
