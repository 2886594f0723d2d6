"""How much a sink was told within the last minute: what a storm is measured by."""

from datetime import datetime

from processors.alerts.limits import AlertLimits
from schemas.alerts import Alert, SinkRate


def causes_told(rate: SinkRate | None, now: datetime, limits: AlertLimits) -> int:
    """How many causes a sink was told lately."""
    return 0 if rate is None else sum(number for _, number in _lately(rate, now, limits))


def had_summary(rate: SinkRate | None, now: datetime, limits: AlertLimits) -> bool:
    """Whether a sink had a summary lately."""
    return (
        rate is not None
        and rate.summary_at is not None
        and now - limits.storm_within < rate.summary_at <= now
    )


def counted(
    rate: SinkRate | None, sink: str, alert: Alert, now: datetime, limits: AlertLimits
) -> SinkRate:
    """The rate of a sink that is told an alert now."""
    rate = rate or SinkRate(sink)
    summary_at = now if alert.kind == "summary" else rate.summary_at
    return SinkRate(sink, (*_lately(rate, now, limits), (now, alert.causes)), summary_at)


def _lately(rate: SinkRate, now: datetime, limits: AlertLimits) -> tuple[tuple[datetime, int], ...]:
    """What the clock has not reached yet was told before it was set back: it counts no more."""
    begin = now - limits.storm_within
    return tuple(each for each in rate.told if begin < each[0] <= now)
