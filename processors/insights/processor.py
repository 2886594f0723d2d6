"""The insights processor: its core, and where its inputs, state and tables live."""

from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import Final

import msgspec

from processors.contracts.registry import CONTRACTS, RECEIVERS, RegistrySnapshot, build_tables
from processors.insights import state
from processors.insights.advance import advance
from processors.insights.edges import EDGES
from processors.insights.limits import DEFAULT_LIMITS, Limits
from processors.insights.patterns import FIGURES, PATTERNS
from processors.insights.state import Fed, State
from processors.processor import Processor
from schemas.feed import EdgePart, JudgedPart, Part, contract_subject, subject, subject_of
from schemas.flow import Effect, Input, InputEvent, Record, Refused
from schemas.serde import read

FEED: Final = "handoff.internal.feed"
MAX_PART_BYTES: Final = 1 << 20  # as much as an input of the first processor

_decode: Callable[[bytes], Part] = msgspec.json.Decoder(Part).decode


def insights(limits: Limits) -> Processor[State]:
    """The insights processor with these limits."""

    def advance_within(
        before: State | None, given: Input, tables: RegistrySnapshot, now: int
    ) -> tuple[State | None, list[Effect]]:
        return advance(before, given, tables, now, limits)

    return Processor(
        name="insights",
        inputs=(FEED,),
        outputs=(EDGES, PATTERNS, FIGURES),
        changelog="handoff.insights-state",
        tables=(CONTRACTS, RECEIVERS),
        build_tables=build_tables,
        parse=parse,
        state_key=_state_key,
        advance=advance_within,
        format=state.FORMAT,
        encode=state.encode,
        decode=state.decode,
        encode_change=state.encode_change,
        due=state.due,
        timers=state.timers,
        watched=state.watched,
        facts=facts,
        queues=RegistrySnapshot.named_queues,
    )


def parse(record: Record, _: int) -> InputEvent:
    """Understand one record of the feed.

    A part is a sum, so it is of no task and carries no trace. Raises `Refused` as `serde.read`
    does, and for a key that is not the part's subject.
    """
    part = read(record, _decode, MAX_PART_BYTES, "subject of the part")
    try:
        key = str(record.key or b"", "utf-8")
    except UnicodeDecodeError:
        raise Refused("key_mismatch", "the record's key is not UTF-8") from None
    if isinstance(part, EdgePart):
        fits = key == subject(part.kind, part.workflow, part.from_, part.to)
    elif isinstance(part, JudgedPart):
        fits = key == contract_subject(part.contract, part.backfill)
    else:  # any fingerprint, which no edge could have
        fits = not key.startswith(("move/", "handoff/")) and len(key) <= MAX_PART_BYTES
    if not fits:
        raise Refused("key_mismatch", "the record's key is not the subject of its part")
    return InputEvent(
        body=Fed(subject_of(key, part), part),
        occurred_at=part.last_seen,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        backfill=False,  # a part says itself whether it is backfill
        traceparent=None,
        timestamp=record.timestamp,
    )


def facts(tables: RegistrySnapshot, _: int) -> dict[str, Hashable]:
    """What edges depend on: the contracts in force, by workflow. One that is not deprecated
    documents a move before one that is."""
    found: dict[str, list[tuple[str, int, bool]]] = defaultdict(list)
    for id_, contract in sorted(tables.contracts.items()):
        found[f"workflow {contract.workflow}"].append((id_, contract.version, contract.deprecated))
    return {name: tuple(contracts) for name, contracts in found.items()}


def _state_key(event: InputEvent) -> str:
    fed: Fed = event.body
    return fed.subject


INSIGHTS = insights(DEFAULT_LIMITS)
