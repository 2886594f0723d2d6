"""Stories of alerts as data: each file in `alerts/` is a timeline.

routes    as in a file of routes; without them one webhook `hook` gets everything
timeline  what happens, in order; `at` is a time of Monday, 2 March 2026 (UTC), `1+07:00` one of the
          day after:
          - `pattern: FINGERPRINT` (or a list) with members of `Pattern`, `seen` for `first_seen`
          - `close: FINGERPRINT`; `contract_in_force: ID` with `version`, `since`
          - `silence: ID` with `match`, `from`, `until`; `end_silence: ID`
          - `say: ack | resolve | silence` with `to` (a fingerprint) and `until`
          - `routes: ...`: the process starts anew with these routes
          - `hang: SINK`, `wake: SINK`: it answers nothing, and then all; `refuse: SINK`
until     when the story ends; every `tick` seconds (10) what waits is decided
expect    every message, in order: `at`, `sink`, `action`, and what else matters
reasons   why causes are not told when the story ends, by fingerprint
"""

from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from tests.alerts_core import check_order, moment, play

SCENARIOS: Final = sorted((Path(__file__).parent / "alerts").glob("*.yaml"))


@pytest.fixture(params=SCENARIOS, ids=lambda path: path.stem)
def story(request: pytest.FixtureRequest) -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe", pure=True).load(request.param.read_text())
    return loaded


def test_a_scenario_tells_exactly_what_it_expects(story: dict[str, Any]) -> None:
    player, found = play(story)
    expected = [{**entry, "at": moment(entry["at"])} for entry in story["expect"]]
    shown = [_part_of(f, e) for f, e in zip(found, expected, strict=False)]
    brief = [_brief(entry) for entry in found]
    assert shown == expected[: len(found)], "\n".join(brief)
    assert len(found) == len(expected), "\n".join(brief)
    reasons = {name: player.book.causes[name].reason for name in story.get("reasons", {})}
    assert reasons == story.get("reasons", {})
    check_order(player)


def test_a_crash_between_any_two_events_changes_nothing(story: dict[str, Any]) -> None:
    _, straight = play(story)
    _, broken = play(story, forget=True)
    assert broken == straight


def _part_of(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    part = {name: found[name] for name in expected}
    if "facts" in expected:
        part["facts"] = {name: found["facts"].get(name) for name in expected["facts"]}
    return part


def _brief(entry: dict[str, Any]) -> str:
    at: datetime = entry["at"]
    return f"{at:%d %H:%M:%S} {entry['sink']} {entry['action']} {entry['title']} ({entry['why']})"
