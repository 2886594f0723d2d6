"""What a person says of an alert, and what they silence: as records, checked before one is written.

Pure, but for the ids.
"""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

import msgspec

from schemas.alerts import ACTIONS, SILENCES, AlertAction, AlertSilence
from schemas.matching import exactly
from web.mending import MOST_REASON, NotAsked
from web.model.queries.causes import PatternRow

# So long a silence may be: its name in the form, and in words.
SPANS: Final = {"1": "an hour", "4": "four hours", "24": "a day", "168": "a week"}
# What the page says after each.
TOLD: Final = {
    "ack": "You look after it: the alert is quiet until it is more severe.",
    "resolve": "Resolved: its causes are quiet until they are more severe, or begin anew.",
    "silence": "Silenced: nobody is told of it until the silence ends.",
    "end": "The silence is ended: what still fires is told.",
}
_encode = msgspec.json.Encoder().encode


class Said(NamedTuple):
    """A record to write: a value of None deletes the key."""

    topic: str
    key: str
    value: bytes | None


def of_alert(
    form: Mapping[str, str], action: Literal["ack", "resolve"], key: str, by: str, now: datetime
) -> Said:
    """Somebody looks after an alert, or resolves it. Raises `NotAsked` without a reason."""
    said = AlertAction(uuid.uuid4().hex, key, action, by, occurred_at=now, reason=_reason(form))
    return Said(ACTIONS, key, _encode(said))


def of_silence(form: Mapping[str, str], pattern: PatternRow, by: str, now: datetime) -> Said:
    """A silence of what is as a pattern, from now on. Raises `NotAsked`."""
    span = form.get("span", "")
    if span not in SPANS:
        raise NotAsked("it does not say for how long")
    id_ = f"s-{uuid.uuid4().hex[:12]}"
    match = {name: [exactly(text)] for name, text in silenced(pattern).items()}
    ends = now + timedelta(hours=int(span))
    return Said(
        SILENCES,
        id_,
        _encode(
            AlertSilence(
                id=id_, match=match, starts_at=now, ends_at=ends, by=by, reason=_reason(form)
            )
        ),
    )


def silenced(pattern: PatternRow) -> dict[str, str]:
    """What a silence of a pattern names: its kind, its workflow, and its contract or receiver."""
    found = {"workflow": pattern.workflow, "kind": pattern.kind}
    if pattern.contract is not None:
        found["contract"] = pattern.contract
    elif pattern.receiver is not None:
        found["receiver"] = pattern.receiver
    return found


def _reason(form: Mapping[str, str]) -> str:
    reason = form.get("reason", "").strip()
    if not reason:
        raise NotAsked("the reason is missing")
    if len(reason) > MOST_REASON:
        raise NotAsked(f"the reason is longer than {MOST_REASON:,} characters")
    return reason
