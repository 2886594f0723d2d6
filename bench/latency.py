"""From the tool that produces a handoff to a receiver that holds its package: our processor, and
Kafka Streams with a commit interval of 100 ms."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from statistics import quantiles

import msgspec

from bench.outcome import PACKAGES
from bench.peer import Peer
from bench.site import PATIENCE, ROOT, BenchError, Site
from bench.workload import Workload, make

RATES = (1_000, 10_000)  # tool outputs a second
# Of packages that do not count: a young broker, and Kafka Streams, still compile themselves.
WARM_UP_SECONDS = 10.0
_IN_FLIGHT = 500
_TIME = re.compile(rb'"occurred_at":\d{13}')


class Latency(msgspec.Struct):
    """Milliseconds from produce to the package, of `packages` of them, at `rate` outputs a second.
    `program` is "integrity", "beside" or "streams"."""

    program: str
    rate: int
    packages: int
    p50: float
    p99: float

    def __str__(self) -> str:
        return f"{self.program:10}{self.rate:6,}/s: p50 {self.p50:.0f} ms, p99 {self.p99:.0f} ms"


class _PackageTime(msgspec.Struct):
    """The one member that is looked at: when the tool output was produced."""

    occurred_at: datetime


_package = msgspec.json.Decoder(_PackageTime).decode


def measure(
    servers: str,
    seconds: float,
    peer: bool,
    directory: Path,
    say: Callable[[str], None],
    beside: Path | None = None,
) -> list[Latency]:
    """Each rate for `seconds`, after a warm-up, on an instance of each program of its own: the
    integrity of the checkout `beside`, too, where one is named."""
    found: list[Latency] = []
    for rate in RATES:
        workload = make(int(rate * (WARM_UP_SECONDS + seconds)), 10**12, in_flight=_IN_FLIGHT)
        checkouts = {"integrity": ROOT, **({"beside": beside} if beside is not None else {})}
        for program, checkout in checkouts.items():
            site = Site(servers, f"latency{rate}{program}", checkout=checkout)
            with site.processor(directory) as process:
                site.until_shared(site.group(), [process])
                found.append(_at(site, program, PACKAGES, rate, workload))
            say(f"  {found[-1]}")
        if peer:
            theirs = Peer(Site(servers, f"latency{rate}streams"))
            with theirs.run(directory) as process:
                theirs.site.until_shared(theirs.group, [process])
                found.append(_at(theirs.site, "streams", theirs.packages, rate, workload))
            say(f"  {found[-1]}")
    return found


def _at(site: Site, program: str, packages: str, rate: int, workload: Workload) -> Latency:
    consumer = site.receiver(packages)
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
    return Latency(program, rate, len(taken), percentiles[49], percentiles[98])


def _occurring(workload: Workload) -> Iterator[tuple[bytes, bytes]]:
    """Each output occurs at the moment when it is asked for."""
    for key, value in workload.records:
        yield key, _TIME.sub(b'"occurred_at":%d' % (time.time_ns() // 1_000_000), value, 1)
