"""Why something was told, and why it was not: every decision has one of these names."""

from enum import StrEnum
from typing import Final

from schemas.records import Severity


class Reason(StrEnum):
    """The name of a decision. `alerts list` and the notes of a replay show it."""

    # told
    OPENED = "opened"
    SEVERITY_ROSE = "severity_rose"
    GROWN_TENFOLD = "grown_tenfold"
    SILENCE_ENDED = "silence_ended"
    SUMMARY = "summary"
    DIGEST = "digest"
    UPDATED = "updated"
    ACKNOWLEDGED = "acknowledged"
    CLOSED = "closed"
    CLOSED_QUIET = "closed_quiet"
    CLOSED_MENDED = "closed_mended"
    CLOSED_CLEAN_RUN = "closed_clean_run"
    CLOSED_DOCUMENTED = "closed_documented"
    CLOSED_NOT_PROMISED = "closed_not_promised"
    RESOLVED_BY_PERSON = "resolved_by_person"
    MOVED = "moved"
    FOR_OTHERS = "for_others"
    ROUTED_HERE = "routed_here"
    ROUTED_ELSEWHERE = "routed_elsewhere"
    # not told
    NEW = "new"
    INFO = "info"
    BACKFILL = "backfill"
    NO_ROUTE = "no_route"
    SILENCED = "silenced"
    INHIBITED = "inhibited"
    QUIETED = "quieted_by_person"
    GROUP_WAIT = "group_wait"
    QUIET_HOURS = "quiet_hours"
    STORM = "storm"
    IN_FLIGHT = "in_flight"
    TOO_SOON = "too_soon"
    NO_UPDATES = "sink_without_updates"
    UNCHANGED = "unchanged"
    NEVER_TOLD = "never_told"
    SINK_GONE = "sink_gone"
    UNKNOWN_ALERT = "unknown_alert"


IN_WORDS: Final[dict[Reason, str]] = {
    Reason.OPENED: "it began",
    Reason.SEVERITY_ROSE: "it is an error now",
    Reason.GROWN_TENFOLD: "it happened ten times as often as when it was told last",
    Reason.SILENCE_ENDED: "its silence has ended, and it is still there",
    Reason.SUMMARY: "many causes came within a minute",
    Reason.DIGEST: "of a contract's version that is in force for less than seven days",
    Reason.UPDATED: "what there is to say has changed",
    Reason.ACKNOWLEDGED: "a person looks after it",
    Reason.CLOSED: "it is over",
    Reason.CLOSED_QUIET: "it has not come again for long",
    Reason.CLOSED_MENDED: "what caused it is mended",
    Reason.CLOSED_CLEAN_RUN: "the last handoffs on the contract did not have it",
    Reason.CLOSED_DOCUMENTED: "a contract documents the move now",
    Reason.CLOSED_NOT_PROMISED: "the workflow has no contract in force any more",
    Reason.RESOLVED_BY_PERSON: "a person resolved it",
    Reason.MOVED: "it is told in another alert now",
    Reason.FOR_OTHERS: "others are to act now",
    Reason.ROUTED_HERE: "the routes have changed, and lead here now",
    Reason.ROUTED_ELSEWHERE: "the routes have changed, and do not lead here any more",
    Reason.NEW: "not decided yet",
    Reason.INFO: "severity info is told nobody",
    Reason.BACKFILL: "a replay is told nobody",
    Reason.NO_ROUTE: "no route matches it",
    Reason.SILENCED: "a silence covers it",
    Reason.INHIBITED: "it follows from another cause",
    Reason.QUIETED: "a person acknowledged, resolved or silenced it",
    Reason.GROUP_WAIT: "it waits for others that come with it",
    Reason.QUIET_HOURS: "its route has quiet hours",
    Reason.STORM: "it waits for the summary of the minute",
    Reason.IN_FLIGHT: "the sink has not answered the last message yet",
    Reason.TOO_SOON: "the last message was less than a minute ago",
    Reason.NO_UPDATES: "nobody is called for a mere count at this sink",
    Reason.UNCHANGED: "nothing has changed",
    Reason.NEVER_TOLD: "it was over before it was told",
    Reason.SINK_GONE: "the routes no longer have the sink",
    Reason.UNKNOWN_ALERT: "no such alert is open",
}
# Why something is over, by `Pattern.closed_by`.
CLOSINGS: Final[dict[str | None, Reason]] = {
    reason.value.removeprefix("closed_"): reason
    for reason in Reason
    if reason.value.startswith("closed_")
}
_RANK: Final[dict[Severity, int]] = {"info": 0, "warning": 1, "error": 2}


def rank(severity: Severity) -> int:
    """How severe, as a number: more is worse."""
    return _RANK[severity]
