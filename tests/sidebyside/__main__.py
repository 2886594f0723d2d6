"""Holds two checkouts side by side: whether they publish the same, byte by byte.

    python -m tests.sidebyside OTHER [--worlds N] [--fuzz N] [--data FILE ...] ...

Both checkouts play the same worlds, each in a process of its own: inputs with their times, changes
of the tables, silences, restarts from the changelog that each of them has written, aborts. It is
compared what they publish (topic, key, headers and bytes of each record, in the order within a
task, and the clock at that moment), what they count, what insights is told (as a sum for each
subject), and what insights makes of it. Fractions in sums may differ in the last bit (a relative
1e-9); nothing else may. The other checkout may be older or newer than this one.

`--state` measures instead what both write to the changelog.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.sidebyside import size, worlds
from tests.sidebyside.compare import Compared, Pair
from tests.sidebyside.showing import shown, timeline
from tests.sidebyside.worlds import ROOT, SHARED, PlayedWorld

KINDS = ("scenarios", "simulated", "life", "fuzz", "benchmark", "chaos", "data")
SHOWN = 3  # differences of a world


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare; 1 where anything differs that may not."""
    options = _options(arguments)
    with Pair(ROOT, options.other.resolve()) as pair:
        if options.state:
            for line in size.table(pair):
                print(line, flush=True)
            return 0
        return _compare(pair, options)


def _compare(pair: Pair, options: argparse.Namespace) -> int:
    failing = apart = 0
    for kind in options.only or KINDS:
        began = time.monotonic()
        played = records = cut = 0
        most = failing + options.most
        for drawn in _made(kind, options):
            if failing >= most:
                break
            world = worlds.within(drawn, options.limits)
            compared = pair.compare(world)
            played, records, cut = played + 1, records + compared.records, cut + compared.cut
            if world.note:
                print(f"{world.name}: this checkout breaks a rule: {world.note}", flush=True)
            if compared.differences:
                expected = options.apart and compared.cut
                apart, failing = apart + expected, failing + (not expected)
                _show(pair, world, compared)
        took = time.monotonic() - began
        print(
            f"{kind:10}{played:6} worlds {records:10,} records, {cut} worlds reached a limit"
            f"  {took:.0f} s",
            flush=True,
        )
    said = f"{failing} worlds differ"
    print(said + (f", {apart} more where limits cut" if options.apart else ""))
    return 1 if failing else 0


def _show(pair: Pair, world: PlayedWorld, compared: Compared) -> None:
    title = f"{world.name} differs" + (", and reached a limit" if compared.cut else "")
    print(f"\n{title}: {len(compared.differences)} differences", flush=True)
    small = pair.shrunken(world, compared.differences[0])
    again = pair.compare(small).differences or compared.differences
    for difference in again[:SHOWN]:
        print("\n".join(shown(difference)))
    print("\n".join(timeline(small)), flush=True)


def _made(kind: str, options: argparse.Namespace) -> Iterator[PlayedWorld]:
    seeds = range(options.seed, options.seed + options.worlds)
    made: dict[str, Callable[[], Iterator[PlayedWorld]]] = {
        "scenarios": worlds.scenarios,
        "simulated": lambda: worlds.simulated(seeds),
        "life": lambda: worlds.lives(range(options.seed, options.seed + 3)),
        "fuzz": lambda: worlds.fuzzed(range(options.seed, options.seed + options.fuzz)),
        "benchmark": lambda: worlds.benchmark(options.events),
        "chaos": lambda: worlds.under_chaos(range(options.seed, options.seed + 2), options.events),
        "data": lambda: worlds.recorded(options.data),
    }
    return made[kind]()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.sidebyside",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    at_hand = sorted(path for path in SHARED.glob("*.gz") if path.is_file())
    parser.add_argument("other", type=Path, help="the other checkout's folder")
    parser.add_argument("--worlds", type=int, default=300, help="simulated ones (default 300)")
    parser.add_argument("--fuzz", type=int, default=100, help="fuzzed worlds (default 100)")
    parser.add_argument("--events", type=int, default=20_000, help="of the benchmark and of chaos")
    parser.add_argument("--seed", type=int, default=1, help="the first seed (default 1)")
    parser.add_argument("--only", choices=KINDS, nargs="+", metavar="KIND", help=" ".join(KINDS))
    parser.add_argument(
        "--data",
        type=Path,
        nargs="*",
        default=at_hand,
        help="tool outputs (.jsonl) or chat transcripts; default: those in ../shared/data",
    )
    parser.add_argument(
        "--limits",
        choices=sorted(worlds.LIMITS),
        default="drawn",
        help="of a task: as each world has them, the defaults, or so tight that much is forgotten",
    )
    parser.add_argument(
        "--apart",
        action="store_true",
        help="differences in worlds where something was forgotten are no failure",
    )
    parser.add_argument("--most", type=int, default=5, help="worlds of a kind that may fail")
    parser.add_argument("--state", action="store_true", help="measure the changelog instead")
    options = parser.parse_args(arguments)
    if not (options.other / "processors").is_dir():
        parser.error(f"{options.other} is no checkout: it has no folder 'processors'")
    for path in options.data:
        if not path.is_file():
            parser.error(f"{path} is no file")
    return options


if __name__ == "__main__":
    sys.exit(main())
