"""How the alerts do: for `/readyz` and `/metrics`."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from alerts.delivery import SinkFigures
from alerts.heartbeat import Heartbeat

OUTCOMES = ("delivered", "refused", "given_up", "superseded", "failed")
Phase = Literal["starting", "standby", "active", "waiting", "stopped"]


class AlertStatus(Collector):
    """Plain numbers that the service sets, and that the pages read."""

    def __init__(self) -> None:
        self.phase: Phase = "starting"
        self.problem: str | None = None
        self.causes: Counter[str] = Counter()  # by why they are told or not
        self.alerts: Counter[str] = Counter()  # by state
        self.left_open: Counter[str] = Counter()  # by sinks that the routes do not have any more
        self.messages: Counter[tuple[str, str, str]] = Counter()  # sink, action, reason
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
            "handoff_alerts_decided",
            "Messages by sink, action and reason.",
            labels=["sink", "action", "reason"],
        )
        for labels, number in list(self.messages.items()):
            messages.add_metric([*labels], number)
        left_open = GaugeMetricFamily(
            "handoff_alerts_left_open",
            "Alerts that may stay open at a sink which the routes do not have any more.",
            labels=["sink"],
        )
        for sink, number in list(self.left_open.items()):
            left_open.add_metric([sink], number)
        unreadable = GaugeMetricFamily(
            "handoff_alerts_unreadable",
            "Entries of alerts, silences and contracts that cannot be read, and are left out.",
        )
        unreadable.add_metric([], self.unreadable)
        restarts = CounterMetricFamily(
            "handoff_alerts_restarts", "How often the alerts were started anew."
        )
        restarts.add_metric([], self.restarts)
        beats = CounterMetricFamily(
            "handoff_heartbeats",
            "Heartbeats: sent, withheld, and failed, which did not arrive.",
            labels=["outcome"],
        )
        if self.heartbeat is not None:
            for outcome in ("sent", "withheld", "failed"):
                beats.add_metric([outcome], self.heartbeat.outcomes[outcome])
        yield from (active, ready, causes, firing, messages, left_open, unreadable, restarts, beats)
        yield from self._sinks()

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
        for sink, found in self.figures().items():
            for outcome in OUTCOMES:
                messages.add_metric([sink, outcome], found.outcomes.get(outcome, 0))
            pending.add_metric([sink], found.pending)
            oldest.add_metric([sink], found.oldest)
            up.add_metric([sink], int(not found.open))
        yield from (messages, pending, oldest, up)
