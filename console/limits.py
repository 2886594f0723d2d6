"""The limits of the processors, as the settings say them."""

from processors.contracts.registry import STALE_INTERVALS
from processors.insights.limits import Limits as InsightsLimits
from processors.integrity.limits import Limits
from processors.runtime.settings import Settings


def limits(settings: Settings) -> Limits:
    """The limits of the integrity processor."""
    return Limits(
        settings.max_record_bytes,
        settings.max_fields,
        settings.max_value_bytes,
        state_bytes=settings.max_state_bytes,
        open_handoffs=settings.max_open_handoffs,
        backfill_after_ms=settings.backfill_after_ms,
        handoff_ttl_ms=settings.handoff_ttl_ms,
        task_ttl_ms=settings.task_ttl_ms,
        early_grace_ms=settings.early_grace_ms,
        repeat_grace_ms=settings.repeat_grace_ms,
        live_grace_ms=settings.live_grace_ms,
        stale_liveness_ms=round(STALE_INTERVALS * settings.probe_interval * 1000),
        output_bytes=settings.max_output_bytes,
        link_grace_ms=settings.link_grace_ms,
    )


def insights_limits(settings: Settings) -> InsightsLimits:
    """The limits of the insights processor."""
    return InsightsLimits(
        settings.pattern_window_ms, settings.pattern_settle_ms, settings.edge_interval_ms
    )
