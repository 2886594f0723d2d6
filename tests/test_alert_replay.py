"""Months of traffic through patterns and alerts with the routes that are shipped: nobody is called
too often, each cause is in exactly one alert at a time, and none is forgotten (`bench.alerts`
asserts that while it plays)."""

from pathlib import Path

import pytest

from bench.alerts import BUDGET, ReplayHeard, incidents, log, table


def held_to_the_budget(heard: ReplayHeard) -> None:
    assert heard.occurrences
    assert heard.pages
    assert max(heard.pages.values()) <= BUDGET, "\n".join(table(heard))
    assert all(why for *_, why, _ in heard.rows), "each message says why"


def test_three_weeks_of_incidents_call_nobody_too_often() -> None:
    held_to_the_budget(incidents(seed=2, days=21))


@pytest.mark.slow
@pytest.mark.shared
def test_three_months_of_the_permit_log_call_nobody_too_often(shared: Path) -> None:
    heard = log(str(shared / "data" / "permit-outputs.jsonl.gz"))
    held_to_the_budget(heard)
