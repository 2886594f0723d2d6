"""The sentence of a pattern: what, where, how often, since when, and who is to act.

No value of a context is in it, but for those that a contract's `repeat` goes by, untagged ones.
"""

from typing import NamedTuple

from processors.insights.state import Entry
from schemas.feed import BY_RECEIVER, PatternPart
from schemas.serde import utc

_FIELDS = {
    "context_dropped": "{field} was dropped",
    "context_empty": "{field} was sent empty",
    "context_unstructured": "{field} arrived only as words inside another value",
    "context_malformed": "{field} arrived in another shape than the contract asks for",
    "context_shortened": "{field} arrived cut",
    "context_changed": "{field} changed on its way though the contract calls it stable",
    "context_retracted": "{field} was taken back before the handoff",
    "context_reentered": "{field} was typed again by people who were not given it",
    "never_captured": "no tool ever captured {field} for handoffs",
    "untranslatable": "{field} arrived in a term that the contract does not translate",
    "rule_failed": "the rule {field} failed",
}
_HANDOFFS = {
    "receiver_mismatch": "handoffs named another receiver than the contract",
    "receiver_missing": "handoffs went to {receiver}, which nobody receives",
    "receiver_silent": "handoffs went to {receiver}, which has not been there",
    "source_silent": "a source was not read, and nobody knows whether handoffs were answered",
    "owner_missing": "handoffs went to {receiver}, which has no owner in force",
    "contract_missing": "handoffs were made without a contract",
    "handoff_missing": "tasks moved on and nobody declared the handoff",
    "not_accepted": "handoffs were not accepted in time",
    "not_completed": "handoffs were not completed in time",
    "rejected": "handoffs were rejected",
    "held_too_long": "handoffs were held and nobody released them",
    "handoff_loop": "tasks go back and forth",
    "unknown_handoff": "answers came to handoffs that are not open",
    "link_refused": "links to other tasks could not be made",
    "undocumented_handoff": "tasks moved on, and no handoff or contract tells what they carry",
    "repeat": "the same handoff was made",
}


class Closing(NamedTuple):
    """Why a pattern is closed: `Pattern.closed_by`, and the sentence, None where it was quiet."""

    by: str
    sentence: str | None


QUIET = Closing("quiet", None)
MENDED = Closing("mended", "What caused it is mended.")
DOCUMENTED = Closing("documented", "A contract documents the move now.")
NOT_PROMISED = Closing("not_promised", "The workflow has no contract in force any more.")


def clean(run: int) -> Closing:
    """Why a pattern is closed that the last `run` handoffs did not have."""
    return Closing("clean_run", f"The last {run} handoffs on the contract did not have it.")


def about(entry: Entry, owner: str | None) -> str:
    """What a pattern is about; `owner` is who is to act."""
    return f"{_often(entry)}; {_who(entry.total, owner)}."


def closed(entry: Entry, why: Closing) -> str:
    """The same of one that ends."""
    last = f"{utc(entry.total.last_seen):%Y-%m-%d %H:%M} UTC"
    return f"{_often(entry)}. {why.sentence or f'It has not come again since {last}.'}"


def _often(entry: Entry) -> str:
    total = entry.total
    times = "once" if entry.count == 1 else f"{entry.count:,} times"
    since = f"{utc(total.first_seen):%Y-%m-%d %H:%M} UTC"
    return f"{_what(total)}{_where(total)}: {times} since {since}"


def _what(total: PatternPart) -> str:
    text = _FIELDS.get(total.kind) or _HANDOFFS.get(total.kind)
    if text is None:  # of a newer version
        text = total.kind.replace("_", " ")
    what = text[:1].upper() + text[1:]  # a field's name stays as it is
    what = what.replace("{field}", total.field or "a field")
    return what.replace("{receiver}", total.receiver or "a receiver")


def _where(total: PatternPart) -> str:
    where = ""
    if total.kind in BY_RECEIVER:  # whoever sends there
        return where
    to = total.to or total.receiver
    if len(total.stages) > 1 and total.kind != "handoff_loop":
        busiest = max(total.stages, key=lambda stage: (total.stages[stage], stage))
        into = "" if to is None else f" into {to}"
        where = f"{into} from {len(total.stages)} stages, most often from {busiest}"
    elif total.from_ is not None and to is not None:
        where = f" between {total.from_} and {to}"
    elif total.from_ is not None:
        where = f" at {total.from_}"
    if total.repeated is not None and total.repeated.values:
        values = [f"{path} {value or 'masked'}" for path, value in total.repeated.values.items()]
        where += f" with {', '.join(values)}"
    what = f"workflow {total.workflow}"
    if total.contract is not None:
        what = f"contract {total.contract}, {what}"
    return f"{where} ({what})"


def _who(total: PatternPart, owner: str | None) -> str:
    if total.repeated is not None:
        receiver = total.repeated.receiver
        whom = f"{owner} of {receiver}" if owner else receiver
        return f"{whom} is to look for the cause"
    if owner is not None:
        return f"{owner} is to act"
    if total.kind == "undocumented_handoff":
        return "`handoff discover` drafts a contract for it"
    return "nobody is named to act"
