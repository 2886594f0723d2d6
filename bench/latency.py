"""From the tool that produces a handoff to a receiver that holds its package."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from statistics import quantiles

import msgspec

from bench.site import PATIENCE, BenchError, Site, wait_for
from bench.workload import Workload, make

RATES = (1_000, 10_000)  # tool outputs a second
WARM_UP_SECONDS = 5.0  # of packages that do not count: a young broker still compiles itself
_IN_FLIGHT = 500
_TIME = re.compile(rb'"occurred_at":\d{13}')


class Latency(msgspec.Struct):
    """Milliseconds from produce to the package, of `packages` of them, at `rate` outputs a
    second."""

    rate: int
    packages: int
    p50: float
    p99: float


class _PackageTime(msgspec.Struct):
    """The one member that is looked at: when the tool output was produced."""

    occurred_at: datetime


_package = msgspec.json.Decoder(_PackageTime).decode


def measure(
    servers: str, seconds: float, directory: Path, say: Callable[[str], None]
) -> list[Latency]:
    """Each rate for `seconds`, after a warm-up, on an instance of the processor of its own."""
    found: list[Latency] = []
    for rate in RATES:
        site = Site(servers, f"latency{rate}")
        workload = make(int(rate * (WARM_UP_SECONDS + seconds)), 10**12, in_flight=_IN_FLIGHT)
        with site.processor(directory) as process:
            wait_for("ready", process, lambda: _ready(process.metrics))
            found.append(_at(site, rate, workload))
        last = found[-1]
        say(f"  {rate:6,}/s: p50 {last.p50:.0f} ms, p99 {last.p99:.0f} ms")
    return found


def _ready(metrics: Callable[[], dict[str, float]]) -> bool:
    try:
        return metrics().get("handoff_state_keys") is not None
    except OSError:
        return False


def _at(site: Site, rate: int, workload: Workload) -> Latency:
    consumer = site.receiver("handoff.packages")
    sender = threading.Thread(target=site.send, args=(_occurring(workload), rate), daemon=True)
    warm = (time.time() + WARM_UP_SECONDS) * 1000
    sender.start()
    limit = time.monotonic() + len(workload.records) / rate + PATIENCE
    taken: list[float] = []
    seen = 0
    while seen < workload.handoffs:
        first = consumer.poll(0.5)
        if first is None:
            if time.monotonic() > limit:
                raise BenchError(f"{seen:,} of {workload.handoffs:,} packages came")
            continue
        now = time.time() * 1000
        for message in (first, *consumer.consume(1_000, 0)):
            if error := message.error():
                raise BenchError(error.str())
            seen += 1
            sent = _package(message.value() or b"").occurred_at.timestamp() * 1000
            if sent >= warm:
                taken.append(now - sent)
    sender.join()
    consumer.close()
    percentiles = quantiles(taken, n=100)
    return Latency(rate, len(taken), percentiles[49], percentiles[98])


def _occurring(workload: Workload) -> Iterator[tuple[bytes, bytes]]:
    """Each output occurs at the moment when it is asked for."""
    for key, value in workload.records:
        yield key, _TIME.sub(b'"occurred_at":%d' % (time.time_ns() // 1_000_000), value, 1)
