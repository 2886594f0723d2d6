"""What follows from what, where thousands of causes are at one place."""

from datetime import datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from processors.alerts.events import CauseTold, of_record
from processors.alerts.inhibition import Inhibition, Inhibitors
from processors.alerts.reasons import rank
from schemas.alerts import Cause
from tests.alerts_core import START, pattern


def loss(name: str, seen: int, **about: Any) -> Cause:
    moment = START + timedelta(seconds=seen)
    made = pattern(f"contract/{name}/context_dropped/x", moment, first_seen=moment, **about)
    told = of_record(made.fingerprint, made, START)
    assert isinstance(told, CauseTold)
    return told.cause


def inhibition(causes: list[Cause], asked: list[str]) -> Inhibition:
    """`asked` collects the causes of which it was asked whether they count: all but the odd."""
    inhibitors = Inhibitors()
    for cause in causes:
        inhibitors.put(cause)

    def counts(cause: Cause) -> bool:
        asked.append(cause.fingerprint)
        return "odd" not in cause.fingerprint

    return Inhibition(inhibitors, counts)


def test_ten_thousand_at_one_place_are_as_many_steps() -> None:
    """Whether one counts is asked once a round, however many look for it: they are of one stage,
    and none of the first half counts."""
    causes = [
        loss(
            f"{number}{'odd' if number < 5_000 else ''}", number, from_="a", to="a", stages={"a": 1}
        )
        for number in range(10_000)
    ]
    asked: list[str] = []
    found = inhibition(causes, asked)
    silenced = [found.of(cause) for cause in causes]
    assert len(asked) == 10_000
    assert silenced[:5_001] == [None] * 5_001
    assert {each.fingerprint for each in silenced[5_001:] if each} == {causes[5_000].fingerprint}
    assert None not in silenced[5_001:]


LOSSES = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["warning", "error"]),
        st.sampled_from("ab"),
        st.sampled_from("ab"),
        st.sampled_from(["", "odd"]),
    ),
    max_size=12,
)


@given(LOSSES)
def test_it_is_the_oldest_one_upstream_that_counts_and_is_as_severe(given_: list[Any]) -> None:
    causes = [
        loss(f"{number}{odd}", seen, severity=severity, from_=from_, to=to, stages={from_: 1})
        for number, (seen, severity, from_, to, odd) in enumerate(given_)
    ]
    found = inhibition(causes, [])

    def age(cause: Cause) -> tuple[datetime, str]:
        return cause.first_seen, cause.fingerprint

    for cause in causes:
        upstream = [
            other
            for other in causes
            if other.to == cause.from_
            and "odd" not in other.fingerprint
            and age(other) < age(cause)
            and rank(other.severity) >= rank(cause.severity)
        ]
        assert found.of(cause) == min(upstream, key=age, default=None)
