"""`handoff edges --since`: a range of time beside the one before it."""

import json
import re

import pytest

from console.errors import BadInputError
from console.figures import Range, range_of, sums
from console.kafka import connect, write_all
from schemas import serde
from schemas.records import Figures
from tests.commands import HandoffCommand
from tests.core import DAY_ONE

HOUR = 3_600_000
DAY = 24 * HOUR
NOW = DAY_ONE + 20 * DAY + 90_000


def hour(begin: int, moves: int, long: int = HOUR, **counts: int) -> Figures:
    return Figures(
        kind="handoff",
        workflow="w",
        from_="a",
        to="b",
        contract="c",
        since=serde.utc(begin),
        until=serde.utc(begin + long),
        counts={"moves": moves, **counts},
        lost_fields={"tone": counts["lost"]} if "lost" in counts else {},
        fidelity_sum=moves / 2,
        completeness_sum=0.0,
        accepted_in_ms={},
    )


@pytest.mark.parametrize(
    ("since", "until", "begin", "end"),
    [
        ("7d", None, DAY_ONE + 13 * DAY + HOUR, DAY_ONE + 20 * DAY + HOUR),
        ("12h", None, DAY_ONE + 19 * DAY + 13 * HOUR, DAY_ONE + 20 * DAY + HOUR),
        ("P1W", "2026-03-09T00:00:00Z", DAY_ONE, DAY_ONE + 7 * DAY),
        ("2026-03-02T10:20:00Z", "2026-03-02T10:40:00Z", DAY_ONE + 10 * HOUR, DAY_ONE + 11 * HOUR),
    ],
)
def test_a_range_has_whole_hours(since: str, until: str | None, begin: int, end: int) -> None:
    found = range_of(since, until, NOW)
    assert found == Range(begin, end)
    assert found.before == Range(2 * begin - end, begin)


@pytest.mark.parametrize("since", ["7", "d", "soon", "P1Y", "2026-04-01T00:00:00Z", "0d"])
def test_what_is_no_range_is_refused(since: str) -> None:
    with pytest.raises(BadInputError):
        range_of(since, None, NOW)


def test_ranges_that_meet_share_no_hour_and_leave_none_out() -> None:
    figures = [hour(DAY_ONE + number * HOUR, number + 1) for number in range(48)]
    for cut in range(1, 48):
        one = Range(DAY_ONE, DAY_ONE + cut * HOUR)
        two = Range(one.until, DAY_ONE + 48 * HOUR)
        counted = [each.counts["moves"] for r in (one, two) for each in sums(figures, r).values()]
        assert sum(counted) == sum(range(1, 49))


def test_a_week_stands_beside_the_week_before(handoff: HandoffCommand) -> None:
    figures = [
        hour(DAY_ONE, 8, judged=8, lost=2),
        hour(DAY_ONE + 7 * DAY, 20, judged=40, lost=5, stalled=3),
        hour(DAY_ONE + 9 * DAY, 10, DAY, judged=0),
        hour(DAY_ONE + 14 * DAY, 1_000),
    ]
    keyed = [(f"handoff/w/a/b/{number}", serde.encode(each)) for number, each in enumerate(figures)]
    write_all(connect(), "handoff.figures", [*keyed, ("pattern/x", b"{}"), ("y", b"{}")])
    within = ("--since", "7d", "--until", "2026-03-16T00:00:00Z")
    table = handoff("edges", *within)
    assert table.exit_code == 0, table.output
    row = re.split("  +", table.stdout.splitlines()[1])
    assert row[:5] == ["w", "a", "→ b", "30 (+22)", "8"]
    assert row[5:] == ["37%", "50%", "5 (+3)", "2", "3 (+3)", "0", "tone (5)"]
    assert "1 edge from 2026-03-09 00:00 to 2026-03-16 00:00 UTC" in table.stderr
    assert "left out 1 record" in table.stderr
    assert "by the day" not in table.stderr, "no day is cut"
    (told,) = json.loads(handoff("edges", *within, "--output", "json").stdout)
    assert told["here"]["counts"] == {"moves": 30, "judged": 40, "lost": 5, "stalled": 3}
    assert told["before"] == {
        "counts": {"moves": 8, "judged": 8, "lost": 2},
        "lost_fields": {"tone": 2},
        "fidelity": 0.5,
    }
    cut = handoff("edges", "--since", "7d", "--until", "2026-03-11T12:00:00Z")
    assert "a day counts where it begins" in cut.stderr
    none = handoff("edges", *within, "--workflow", "other", "--output", "json")
    assert none.stdout == "[]\n"
    assert handoff("edges", "--until", "2026-03-16T00:00:00Z").exit_code != 0
    assert handoff("edges", "--since", "7d", "--from", "x").exit_code != 0
    for typed in ("week", "P1M"):
        asked = handoff("edges", "--since", typed)
        assert asked.exit_code == 2
        assert asked.stderr.startswith("handoff: --since: ")
        assert asked.stderr.endswith("; or how long before the end, such as 7d\n")
