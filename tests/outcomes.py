"""What became of the records while something went wrong: counted by the tests of faults.

A test that is marked `fault("...")` compares all that was published with what must be. It notes
the figures here, and `make reliability` makes the table of docs/reliability.md from them.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

VARIABLE = "HANDOFF_OUTCOMES"  # names the file, one JSON object a line


class Outcome(NamedTuple):
    """So many records were compared; of them so many were lost, came twice, or in another order."""

    records: int
    lost: int = 0
    twice: int = 0
    disordered: int = 0


_noted: list[Outcome] = []


def note(outcome: Outcome) -> None:
    """What the test that runs now has found last: a later comparison holds all before it, too."""
    _noted[:] = [outcome]


def note_sequences(found: Mapping[str, Sequence[int]], expected: Mapping[str, int]) -> None:
    """The outputs of each key must count 1, 2, ... up to what was sent."""
    lost = twice = disordered = 0
    for key, count in expected.items():
        times = Counter(found.get(key, ()))
        lost += sum(1 for number in range(1, count + 1) if number not in times)
        twice += sum(n - 1 for n in times.values())
        disordered += list(found.get(key, ())) != sorted(found.get(key, ()))
    note(Outcome(sum(expected.values()), lost, twice, disordered))


def note_counts(found: Counter[Any], wanted: Counter[Any]) -> None:
    """Each of these must be there as often as wanted; nothing is said of their order."""
    note(Outcome(wanted.total(), (wanted - found).total(), (found - wanted).total()))


def write(fault: str, *, passed: bool) -> None:
    """Add what the test of a fault has noted to the file that the environment names, if it does."""
    path = os.environ.get(VARIABLE)
    if path is not None:
        figures = _noted[0] if _noted else Outcome(0)
        with Path(path).open("a") as file:
            file.write(json.dumps({"fault": fault, "passed": passed, **figures._asdict()}) + "\n")
    _noted.clear()
