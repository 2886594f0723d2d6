"""What the process that alerts adds to `/metrics`: its sinks, the dead man, and who lags."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from alerts.delivery import SinkFigures
from alerts.heartbeat import Heartbeat

# `failed` counts attempts, the others messages. All are there from the start, as 0: Prometheus sees
# no increase where a series begins.
OUTCOMES = ("delivered", "refused", "given_up", "superseded", "failed")


class AlertsCollector:
    """Makes metrics at each scrape: `figures` is `Delivery.figures`, `waits` is `Health.waits`."""

    def __init__(
        self,
        figures: Callable[[], Mapping[str, SinkFigures]],
        waits: Callable[[], Mapping[str, float | None]],
        heartbeat: Heartbeat | None,
    ) -> None:
        self._figures = figures
        self._waits = waits
        self._heartbeat = heartbeat

    def collect(self) -> Iterator[Metric]:
        """All metrics."""
        yield from self._sinks()
        waits = GaugeMetricFamily(
            "handoff_wait_seconds",
            "How long the oldest unread record has waited.",
            labels=["processor"],
        )
        for processor, wait in self._waits().items():
            if wait is not None:
                waits.add_metric([processor], wait)
        yield waits
        beats = CounterMetricFamily(
            "handoff_heartbeats",
            "Signs of life: sent, withheld, and failed, which did not arrive.",
            labels=["outcome"],
        )
        if self._heartbeat is not None:
            beats.add_metric(["sent"], self._heartbeat.beats)
            beats.add_metric(["withheld"], self._heartbeat.withheld)
            beats.add_metric(["failed"], self._heartbeat.failures)
        yield beats

    def _sinks(self) -> Iterator[Metric]:
        messages = CounterMetricFamily(
            "handoff_alert_messages",
            "Messages to sinks by what became of them; failed counts attempts.",
            labels=["sink", "outcome"],
        )
        pending = GaugeMetricFamily(
            "handoff_alert_messages_pending", "Messages that wait for a sink.", labels=["sink"]
        )
        oldest = GaugeMetricFamily(
            "handoff_alert_oldest_seconds",
            "How long the oldest message has waited for its sink.",
            labels=["sink"],
        )
        up = GaugeMetricFamily(
            "handoff_alert_sink_up",
            "0 while a sink fails again and again, and is only tried from time to time.",
            labels=["sink"],
        )
        for sink, found in self._figures().items():
            for outcome in OUTCOMES:
                messages.add_metric([sink, outcome], found.outcomes.get(outcome, 0))
            pending.add_metric([sink], found.pending)
            oldest.add_metric([sink], found.oldest)
            up.add_metric([sink], int(not found.open))
        return iter((messages, pending, oldest, up))
