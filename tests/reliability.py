"""`python -m tests.reliability [RUNS]`: let each fault happen RUNS times, and write the table.

It runs the tests that are marked `fault`, each run with a seed of its own, and writes what became
of the records into docs/reliability.md. It ends with 1 where any test failed. RUNS is 3 if not
given; a run takes a quarter of an hour.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.outcomes import VARIABLE

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- made by make reliability -->\n", "<!-- end -->\n"
# So many torn requests a kind; a usual test has fewer, so that it stays quick.
MORE = {"HANDOFF_TORN": "100"}


def main(runs: int) -> int:
    """Run, write, and say how it ended."""
    failed = 0
    with TemporaryDirectory(prefix="handoff-reliability-") as folder:
        file = Path(folder) / "outcomes.jsonl"
        for number in range(runs):
            print(f"run {number + 1} of {runs}", flush=True)
            environment = {
                **os.environ,
                **MORE,
                VARIABLE: str(file),
                "HANDOFF_REQUIRE_KAFKA": "1",
                "HANDOFF_CHAOS_SEED": str(random.randrange(10**6)),
            }
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-q", "-m", "fault"],
                cwd=ROOT,
                env=environment,
                check=False,
            )
            failed += done.returncode != 0
        outcomes = [json.loads(line) for line in file.read_text().splitlines()]
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    PAGE.write_text(before + BEGIN + table(outcomes) + END + rest.split(END)[1])
    print(table(outcomes))
    return 1 if failed else 0


def table(outcomes: list[dict[str, Any]]) -> str:
    """One row a fault, in the order in which they first came."""
    rows = [
        "| fault | runs | failed | records | lost | twice | out of order |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for fault in dict.fromkeys(each["fault"] for each in outcomes):
        of = [each for each in outcomes if each["fault"] == fault]
        failed = sum(not each["passed"] for each in of)
        figures = [
            sum(each[name] for each in of) for name in ("records", "lost", "twice", "disordered")
        ]
        told = " | ".join(f"{n:,}" for n in (len(of), failed, *figures))
        rows.append(f"| {fault} | {told} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
