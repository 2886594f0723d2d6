"""How the alerts do: for `/readyz` and `/metrics`."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from alerts.delivery import SinkFigures
from alerts.heartbeat import Heartbeat

Phase = Literal["starting", "standby", "active", "waiting", "stopped"]


class AlertStatus(Collector):
    """Plain numbers that the service sets, and that the pages read."""

    def __init__(self) -> None:
        self.phase: Phase = "starting"
        self.problem: str | None = None
        self.causes: Counter[str] = Counter()  # by why they are told or not
        self.alerts: Counter[str] = Counter()  # by state
        self.messages: Counter[tuple[str, str, str]] = Counter()  # sink, action, reason
        self.undelivered: Counter[str] = Counter()  # by sink
        self.heartbeat: Heartbeat | None = None
        self.restarts = 0
        self.unreadable = 0
        self.figures: Callable[[], Mapping[str, SinkFigures]] = dict

    @property
    def ready(self) -> bool:
        """Whether alerts are told, or another instance tells them."""
        return self.phase in ("active", "standby")

    def collect(self) -> Iterator[Metric]:
        """The metrics, as a collector of Prometheus' client."""
        active = GaugeMetricFamily("handoff_alerts_active", "1 where this instance tells alerts.")
        active.add_metric([], int(self.phase == "active"))
        ready = GaugeMetricFamily(
            "handoff_alerts_ready", "1 where alerts are told, or another instance tells them."
        )
        ready.add_metric([], int(self.ready))
        causes = GaugeMetricFamily(
            "handoff_alerts_causes", "Causes by why they are told, or not.", labels=["reason"]
        )
        for reason, number in list(self.causes.items()):
            causes.add_metric([reason], number)
        firing = GaugeMetricFamily("handoff_alerts_open", "Alerts by state.", labels=["state"])
        for state, number in list(self.alerts.items()):
            firing.add_metric([state], number)
        messages = CounterMetricFamily(
            "handoff_alerts_messages", "Messages by sink.", labels=["sink", "action", "reason"]
        )
        for labels, number in list(self.messages.items()):
            messages.add_metric([*labels], number)
        undelivered = CounterMetricFamily(
            "handoff_alerts_undelivered", "Messages that were given up.", labels=["sink"]
        )
        for sink, number in list(self.undelivered.items()):
            undelivered.add_metric([sink], number)
        restarts = CounterMetricFamily(
            "handoff_alerts_restarts", "How often the alerts were started anew."
        )
        restarts.add_metric([], self.restarts)
        withheld = GaugeMetricFamily(
            "handoff_alerts_heartbeat_withheld",
            "1 where the heartbeat is withheld.",
        )
        lost = CounterMetricFamily(
            "handoff_alerts_heartbeats_failed", "Heartbeats that did not arrive."
        )
        if self.heartbeat is not None:
            withheld.add_metric([], int(self.heartbeat.withheld is not None))
            lost.add_metric([], self.heartbeat.failed)
        yield from (active, ready, causes, firing, messages, undelivered, restarts, withheld, lost)
        yield from self._sinks()

    def _sinks(self) -> Iterator[Metric]:
        pending = GaugeMetricFamily(
            "handoff_alerts_pending", "Messages that wait for a sink.", labels=["sink"]
        )
        oldest = GaugeMetricFamily(
            "handoff_alerts_oldest_seconds", "Age of the oldest message.", labels=["sink"]
        )
        rests = GaugeMetricFamily(
            "handoff_alerts_sink_failing", "1 where a sink is not reached.", labels=["sink"]
        )
        failed = CounterMetricFamily(
            "handoff_alerts_failures", "Attempts that a sink did not take.", labels=["sink"]
        )
        for sink, figures in self.figures().items():
            pending.add_metric([sink], figures.pending)
            oldest.add_metric([sink], figures.oldest)
            rests.add_metric([sink], int(figures.open))
            failed.add_metric([sink], figures.outcomes.get("failed", 0))
        yield from (pending, oldest, rests, failed)
