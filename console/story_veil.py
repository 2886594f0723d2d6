"""A task's events as people may read them: without names and reasons that tell a classified value.

For `handoff show` and the console in a browser. Pure.
"""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Raw
from msgspec.structs import replace

from console.masking import MASK, Mask
from console.sequence import Body, Event
from schemas.records import Ack, Amendment, Package, ToolOutput


def values_of(events: Iterable[Event]) -> Iterator[Mapping[str, Raw]]:
    """The values by their names in all that was said and published of a task."""
    for event in events:
        match event.body:
            case ToolOutput(context=values) | Package(context=values) | Amendment(fields=values):
                yield values


def veiled(event: Event, mask: Mask, known: bool) -> Event:
    """An event without names and reasons that tell a classified value; without any reason, where
    nobody knows what is classified."""
    match event.body:
        case ToolOutput(context=context, retracted=retracted):
            taken = list(mask.names(dict.fromkeys(retracted)))
            body: Body = replace(event.body, context=mask.names(context), retracted=taken)
        case Package(context=context, provenance=provenance):
            body = replace(
                event.body, context=mask.names(context), provenance=mask.names(provenance)
            )
        case Ack(reason=str(reason)):
            body = replace(event.body, reason=mask.words(reason) if known else MASK)
        case Amendment(fields=fields, reason=reason):
            words = None if reason is None else mask.words(reason) if known else MASK
            body = replace(event.body, fields=mask.names(fields), reason=words)
        case _:
            return event
    return event._replace(body=body)
