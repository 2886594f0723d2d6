"""Sources whose decoder makes outputs itself: the spans of a record, with what is overridden.

What overrides is made here, where the record and its span can be seen, and travels with the span;
`processors.intake.traces` puts it into the outputs of the trace.
"""

from typing import Any, Final

from processors.intake.compiled import CompiledSource
from processors.intake.decoding import decode_spans
from processors.intake.expressions import LeftOut
from processors.intake.making import name, place
from processors.intake.mapped import Decoded, MappedRecord, Misses, Skipped, Stamp
from processors.intake.scope import Scope
from processors.intake.times import time_ms
from processors.intake.transcripts.spans import Span, encode
from processors.intake.values import read_json
from schemas.flow import Output, Record, Refused

TRACES: Final = "handoff.internal.traces"
MAX_SPAN_BYTES: Final = 1 << 20  # a state has room for some
_MS: Final = 1000


def take_spans(
    source: CompiledSource, record: Record, stamp: Stamp, mapped: MappedRecord, misses: Misses
) -> None:
    """Fill in `mapped` by what the record shows. Raises `Refused`."""
    decoder = source.source.decode
    quiet = decoder.options.quiet
    quiet_ms = 0 if quiet is None else int(quiet.total_seconds() * _MS)
    left_out = False

    def take(span: Span, seen: Any) -> bool:
        nonlocal left_out
        span.quiet = quiet_ms
        if source.override:
            try:
                span.replaced = _replaced(source, record, seen, misses)
            except LeftOut:
                left_out = True
                return False
        return True

    try:
        found = decode_spans(decoder.name, record, decoder.options, take)
    except Refused as error:
        if error.code != "tombstone":
            raise
        mapped.skipped = Skipped(error.code, error.message)
        return
    headers, at, most = stamp
    for each in found:
        output = Output(TRACES, each.trace.encode(), encode(each), headers, at)
        mapped.add(output, "decode", min(most, MAX_SPAN_BYTES))
    if not found:
        mapped.skipped = (
            Skipped("lookup_skipped", "a look-up of override has no such key")
            if left_out
            else Skipped("no_entry", "the decoder found no span in it")
        )


def _replaced(source: CompiledSource, record: Record, seen: Any, misses: Misses) -> dict[str, Any]:
    """The members that the source overrides, as a tool output names them; what leads to nothing
    replaces nothing. Raises `Refused` and `LeftOut`."""
    plain = read_json(encode(seen), "the span")
    scope = Scope(record, Decoded(plain, None), source.lets, misses)
    found: dict[str, Any] = {}
    for which, member in source.override.items():
        try:
            made = member.make(scope)
            if which == "occurred_at":
                if made is not None:
                    found[which] = time_ms(made, source.override_unit)
            elif (text := name(made)) is not None:
                found["task_id" if which == "task" else which] = text
        except Refused as error:
            place(error, member.path)
            raise
    return found
