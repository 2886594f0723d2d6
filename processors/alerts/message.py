"""What an alert says to a person. No value of any context is in it, and no control character."""

from datetime import datetime
from typing import Final
from urllib.parse import quote

from processors.alerts import kinds
from processors.alerts.reasons import IN_WORDS, Reason
from schemas.alerts import Action, Alert, Cause, Notification, SinkTold
from schemas.printable import plain

MAX_TITLE: Final = 200
_MAX_FACT: Final = 500
_CAUSES_NAMED: Final = 5

# Where a receiver or a held handoff is what there is to look at.
_HELD: Final = frozenset(
    {"receiver_missing", "owner_missing", "receiver_silent", "held", "held_too_long"}
)


def sentence(cause: Cause) -> str:
    """What is broken, and where, in a few words."""
    where = f"workflow {cause.workflow}"
    if cause.contract is not None:
        where = f"contract {cause.contract}, {where}"
    return f"{kinds.title(cause.kind, cause.field, cause.receiver)} ({where})"


def title(alert: Alert, causes: list[Cause]) -> str:
    """One line of at most 200 characters; of an alert that has ended, the last one it had."""
    if not causes:
        return alert.title
    if alert.kind == "digest":
        whose = alert.group.get("owner") or "nobody"
        text = f"New contracts of {whose}: {_causes(len(causes))}; first: {sentence(causes[0])}"
    elif alert.kind == "summary":
        text = f"{_causes(len(causes))} within a minute; first: {sentence(causes[0])}"
    elif len(causes) == 1:
        text = sentence(causes[0])
    else:
        text = f"{_causes(len(causes))}: {sentence(causes[0])}, and {len(causes) - 1:,} more"
    return shortened(text, MAX_TITLE)


def notification(
    alert: Alert,
    causes: list[Cause],
    told: SinkTold,
    action: Action,
    reason: Reason,
    now: datetime,
    *,
    to: str | None,
    console: str | None,
    runbook: str | None,
) -> Notification:
    """The message of an alert. `causes` are those that fire, the worst first; `told` is the sink's
    account with this message in it; `console` and `runbook` are addresses of pages."""
    first = causes[0] if causes else None
    over = action == "resolve" or alert.state == "ended"
    facts = _facts_of_the_end(alert, reason, now) if over else _facts(alert, causes, reason)
    return Notification(
        key=alert.key,
        number=told.number,
        action=action,
        severity=alert.severity,
        title=title(alert, causes),
        facts=tuple((label, shortened(text, _MAX_FACT)) for label, text in facts),
        labels=alert.labels,
        started_at=alert.started_at,
        at=now,
        ended_at=now if over and alert.ended_at is None else alert.ended_at,
        command=None if first is None else command(first),
        link=link(console, alert.first if first is None else first.fingerprint),
        runbook=f"{runbook}#{first.kind}" if runbook is not None and first is not None else runbook,
        to=to,
        reference=told.reference,
    )


def labels(alert: Alert, first: Cause) -> dict[str, str]:
    """What identifies an alert, as it is told first; it never changes after that."""
    named: dict[str, str | None] = {
        "alertname": {
            "causes": "HandoffBroken",
            "summary": "HandoffStorm",
            "digest": "HandoffDigest",
        }[alert.kind],
        "handoff_alert": alert.key,
        "severity": alert.severity,
        **alert.group,
    }
    if alert.kind == "causes" and alert.causes == 1:
        named |= {
            "kind": first.kind,
            "workflow": first.workflow,
            "contract": first.contract,
            "receiver": first.receiver,
            "field": first.field,
        }
    return {name: shortened(text, MAX_TITLE) for name, text in named.items() if text is not None}


def command(cause: Cause) -> str:
    """The command that leads on."""
    if cause.kind in _HELD:
        receiver = f" --receiver {argument(cause.receiver)}" if cause.receiver else ""
        return f"handoff held list{receiver}"
    if cause.kind == "undocumented_handoff":
        return "handoff discover"
    if cause.tasks:
        return f"handoff show {argument(cause.tasks[0])}"
    return "handoff tail patterns --from-beginning"


def link(console: str | None, fingerprint: str) -> str | None:
    """The page of a cause in the console."""
    if not console:
        return None
    return f"{console.rstrip('/')}/cause/{quote(fingerprint, safe='')}"


def _facts_of_the_end(alert: Alert, reason: Reason, now: datetime) -> list[tuple[str, str]]:
    facts = [("over", IN_WORDS[reason])]
    if alert.by is not None and reason is not Reason.ROUTED_ELSEWHERE:
        facts.append(("by", alert.by))
    lasted = f"{_when(alert.started_at)} to {_when(alert.ended_at or now)}"
    return [*facts, ("lasted", lasted)]


def _facts(alert: Alert, causes: list[Cause], reason: Reason) -> list[tuple[str, str]]:
    facts = [("why now", IN_WORDS[reason])]
    if not causes:
        facts.append(("causes", "not known any more; look at handoff alerts list"))
        return facts
    if len(causes) == 1:
        return facts + _of_one(causes[0])
    for number, cause in enumerate(causes[:_CAUSES_NAMED], 1):
        facts.append((f"cause {number}", f"{sentence(cause)}, {_often(cause)}"))
    if len(causes) > _CAUSES_NAMED:
        facts.append(("more", f"{len(causes) - _CAUSES_NAMED:,} other causes"))
    facts.append(("since", _when(min(cause.first_seen for cause in causes))))
    owners = sorted({cause.owner for cause in causes if cause.owner is not None})
    facts.append(("to act", ", ".join(owners[:_CAUSES_NAMED]) or "nobody is named"))
    return facts


def _of_one(cause: Cause) -> list[tuple[str, str]]:
    facts = [("since", _when(cause.first_seen)), ("how often", _often(cause))]
    if cause.tool is not None or cause.stages:
        stage = f" at {cause.stages[0]}" if cause.stages else ""
        facts.append(("most by", f"{cause.tool or 'a tool without a name'}{stage}"))
    if cause.last_had is not None:
        facts.append(("had it last", cause.last_had))
    contact = f" ({cause.owner_contact})" if cause.owner_contact else ""
    facts.append(("to act", f"{cause.owner}{contact}" if cause.owner else "nobody is named"))
    if cause.tasks:
        facts.append(("for example", ", ".join(cause.tasks)))
    return facts


def _often(cause: Cause) -> str:
    times = "once" if cause.count == 1 else f"{cause.count:,} times"
    return f"{times}, last {_when(cause.last_seen)}"


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _causes(number: int) -> str:
    return "1 cause" if number == 1 else f"{number:,} causes"


def shortened(text: str, most: int) -> str:
    """Text in one line, printable, of at most so many characters."""
    text = plain(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def argument(text: str) -> str:
    """Text as one word of a shell."""
    text = plain(text)
    if text and all(char.isalnum() or char in "-_.:@/" for char in text):
        return text
    return "'" + text.replace("'", "'\"'\"'") + "'"
