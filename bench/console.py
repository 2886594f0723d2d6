"""The console under load: how long each page takes while records come and people watch.

    python -m bench.console                                    # full size: a few minutes
    python -m bench.console --records 70000 --seconds 20       # small: what is to be seen at once

Without options it is the full size: 1,000,000 records, 2,500 edges, 100,000 tasks, 200 watchers and
1,000 records a second. It ends by itself, after ten minutes at the latest, and leaves nothing. Its
last lines are the times of each page; run it where nothing else runs, for these are not processor
time. At least 70,000 records are needed, as the tables alone are 24,000.

A console in a process of its own (`bench.console_site`) serves a read model of 2,500 edges and
100,000 tasks on loopback, and applies records all the while. The watchers hold a stream of
server-sent events each; as a browser does, each asks for its page again after a change, so late as
it is told to. Beside them somebody asks for every page in turn. Told are what building took, the
processor time of the server, its memory, and for each page the times until the whole of it was
there.
"""

import argparse
import asyncio
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, Final

import aiohttp

from bench.measuring import percentile
from bench.read_model_records import add_traffic

_PERCENT: Final = (0.5, 0.99, 1.0)
_MOST_SECONDS: Final = 590


def main() -> int:
    """Start the console, ask, print; 1 where a page was not answered."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_traffic(parser)
    parser.add_argument("--watchers", type=int, default=200)
    parser.add_argument("--askers", type=int, default=1, help="who ask for all pages, without rest")
    parser.add_argument("--seconds", type=float, default=60, help="for how long to ask")
    given = parser.parse_args()
    for number in (signal.SIGALRM, signal.SIGTERM):
        signal.signal(number, _stop)
    signal.alarm(_MOST_SECONDS)
    with tempfile.TemporaryDirectory(prefix="bench-console-") as folder:
        return _measure(given, folder)


def _stop(number: int, _: object) -> None:
    late = number == signal.SIGALRM
    why = f"not done after {_MOST_SECONDS} s; ask for fewer --records" if late else "it was ended"
    raise SystemExit(f"bench: {why}")


def _measure(given: argparse.Namespace, folder: str) -> int:
    command = [sys.executable, "-m", "bench.console_site", "--folder", folder]
    for name in ("records", "edges", "tasks", "rate"):
        command += [f"--{name}", str(getattr(given, name))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as site:
        try:
            return _with(given, site)
        except BaseException:
            site.kill()
            raise


def _with(given: argparse.Namespace, site: subprocess.Popen[str]) -> int:
    """Wait until the console is there, put load on it, print."""
    assert site.stdin is not None
    assert site.stdout is not None
    ready = json.loads(site.stdout.readline() or "null")
    if ready is None:
        print("bench: the console did not start", file=sys.stderr)
        return 1
    print(
        f"built from {ready['built']:,} records in {ready['build_seconds']:.1f} s: "
        f"{ready['built'] / ready['build_seconds']:,.0f} a second, "
        f"{ready['built'] / ready['build_cpu']:,.0f} a second of processor time; "
        f"{ready['build_megabytes']:,.0f} MB of memory at most",
        flush=True,
    )
    load = Load(ready["url"], ready["pages"])
    asyncio.run(load.run(given.watchers, given.askers, given.seconds))
    site.stdin.close()
    ended = json.loads(site.stdout.readline())
    load.tell(ended)
    return 1 if load.failed else 0


class Load:
    """Who watches and who asks, and what they saw."""

    def __init__(self, url: str, pages: dict[str, str]) -> None:
        self._url, self._pages = url, pages
        self.took: dict[str, list[float]] = {name: [] for name in pages}
        self.of_watchers: list[float] = []
        self.messages = 0
        self.failed: dict[str, str] = {}

    async def run(self, watchers: int, askers: int, seconds: float) -> None:
        """Watch and ask for so long."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2)  # the server's is 5 s
        quiet = aiohttp.ClientTimeout(total=None, sock_read=60)
        async with aiohttp.ClientSession(
            self._url, connector=connector, timeout=quiet, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            for name, path in self._pages.items():  # templates are compiled at their first use
                await self._ask(session, name, path, keep=None)
            watching = [asyncio.create_task(self._watch(session)) for _ in range(watchers)]
            while self.messages < watchers and not any(each.done() for each in watching):
                await asyncio.sleep(0.05)
            end = time.monotonic() + seconds
            asking = [self._asks(session, end, number) for number in range(askers)]
            await asyncio.gather(*asking)
            for each in watching:
                each.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

    async def _asks(self, session: aiohttp.ClientSession, end: float, number: int) -> None:
        names = list(self._pages)
        names = names[number:] + names[:number]  # not all the same page at the same time
        while time.monotonic() < end:
            for name in names:
                await self._ask(session, name, self._pages[name], self.took[name])

    async def _ask(
        self, session: aiohttp.ClientSession, name: str, path: str, keep: list[float] | None
    ) -> None:
        began = time.perf_counter()
        try:
            async with session.get(path, allow_redirects=False) as answer:
                body = await answer.read()
        except aiohttp.ClientError as error:
            self.failed[name] = str(error)
            return
        spent = (time.perf_counter() - began) * 1000
        if answer.status not in (200, 303) or (answer.status == 200 and not body):
            self.failed[name] = f"{answer.status}: {body[:200]!r}"
        if keep is not None:
            keep.append(spent)

    async def _watch(self, session: aiohttp.ClientSession) -> None:
        """Watch as `live.js` does: fetch the page again, one change after the other."""
        fetching: asyncio.Task[None] | None = None
        try:
            async with session.get("/live") as stream:
                if stream.status != 200:
                    self.failed["watching"] = str(stream.status)
                    return
                async for line in stream.content:
                    if not line.startswith(b"data: "):
                        continue
                    self.messages += 1
                    if fetching is None or fetching.done():
                        gap = json.loads(line[6:])["gap"] / 1000
                        fetching = asyncio.create_task(self._again(session, gap))
        finally:
            if fetching is not None:
                fetching.cancel()

    async def _again(self, session: aiohttp.ClientSession, gap: float) -> None:
        await asyncio.sleep(gap * (1 + random.random() / 2))
        await self._ask(session, "a watcher's page", "/", self.of_watchers)

    def tell(self, ended: dict[str, Any]) -> None:
        """Print what was seen, and what the server used."""
        seconds = ended["seconds"]
        print(
            f"asked for {seconds:.0f} s, while {ended['written'] / seconds:,.0f} records came a "
            f"second, and {self.messages / seconds:,.0f} messages went to watchers"
        )
        print(
            f"processor time of the server: {ended['cpu'] / seconds:.2f} of a core, of it "
            f"{ended['apply_cpu'] / seconds:.2f} for making up and applying records; "
            f"{ended['megabytes']:,.0f} MB of memory at most, {ended['file']:,.0f} MB of file"
        )
        for name, why in self.failed.items():
            print(f"not answered: {name}: {why}", file=sys.stderr)
        rows = [*self.took.items(), ("of watchers", self.of_watchers)]
        for name, times in rows:
            if times:
                p50, p99, most = (percentile(times, share) for share in _PERCENT)
                print(
                    f"  {name:<16} p50 {p50:6.1f} ms   p99 {p99:6.1f} ms   most {most:6.1f} ms   "
                    f"of {len(times):,}"
                )


if __name__ == "__main__":
    sys.exit(main())
