"""What people say to an alert, as it is read from the topic."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from processors.alerts.events import PersonSaid, of_action
from schemas.flow import Headers, Record, Refused

SAID = {
    "id": "1",
    "key": "a-1",
    "action": "silence",
    "by": "Ana",
    "occurred_at": "2026-03-02T10:00:00Z",
}


def read(headers: Headers | None = None, **changes: Any) -> PersonSaid | None:
    value = json.dumps(SAID | changes).encode()
    return of_action(Record("handoff.alert-actions", 0, 0, b"a-1", value, 0, headers or []), 1000)


def test_an_action_and_its_end() -> None:
    said = read(until="2026-03-02T12:00:00+02:00")
    assert said is not None
    assert said.action.by == "Ana"
    assert said.until == datetime(2026, 3, 2, 10, tzinfo=UTC)
    assert read() == PersonSaid(read().action)  # type: ignore[union-attr]


def test_a_replay_says_nothing() -> None:
    assert read([("handoff-backfill", b"1")]) is None


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"by": "x" * 513}, "member_too_long", "by has 513 bytes, the limit is 512"),
        ({"until": "0001-01-01T00:00:00+23:00"}, "wrong_shape", "until lies outside of the years"),
        ({"until": 10**15}, "wrong_shape", "$.until"),
        ({"action": "delete"}, "wrong_shape", "$.action"),
        ({"key": ""}, "wrong_shape", "$.key"),
        ({"reason": "x" * 990}, "too_large", "the limit is 1,000"),
    ],
)
def test_what_is_not_understood_says_why(changes: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(Refused) as refused:
        read(**changes)
    assert refused.value.code == code
    assert words in refused.value.message
