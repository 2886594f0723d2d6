"""When a sink is asked again: back-off, `Retry-After` and a circuit breaker. Pure.

All times are seconds of one monotonic clock, which the caller reads.
"""

from msgspec import Struct, structs

from alerts.notification import Answer, Failed


class Limits(Struct, frozen=True, kw_only=True):
    """How patient the delivery is with one sink.

    A message that fails waits `first` seconds, then twice as long each time, up to `longest`. It
    is given up `give_up` seconds after it was submitted. What a sink itself asks for is obeyed up
    to `retry_after`. After `opens_after` failures in a row, of any messages, the circuit is open:
    the sink rests, and then one message alone is tried. Else `in_flight` messages of different
    keys are under way at once. A sink that has not answered within `hang` seconds has failed.
    """

    first: float = 1.0
    longest: float = 300.0
    give_up: float = 86_400.0
    retry_after: float = 3600.0
    opens_after: int = 5
    in_flight: int = 4
    hang: float = 15.0


class Breaker(Struct, frozen=True):
    """A sink as a whole: failures in a row, and the moment before which it is not asked."""

    failures: int = 0
    rests_until: float = 0.0

    def open(self, limits: Limits) -> bool:
        """Whether the circuit is open: one message alone may be tried once the rest is over."""
        return self.failures >= limits.opens_after


class Tried(Struct, frozen=True):
    """A message: how often it was tried, the answered time included, and when it was submitted."""

    attempts: int
    since: float


def next_step(
    sink: Breaker, message: Tried, answer: Answer, now: float, chance: float, limits: Limits
) -> tuple[Breaker, float | None]:
    """What an answer means: the sink's new state, and after how many seconds the message is sent
    again; None where it is not: it was taken, refused, or is given up.

    `chance` is random, from 0 to 1: half of each pause is left to it, so that many messages do not
    come back at the same moment.

    - Any answer but `Failed` shows that the sink works: the circuit is closed. A pause that the
      sink asked for in another answer goes on.
    - `Failed` with `after`: the sink lives and asks for a pause. All its messages wait so long
      (429, `Retry-After`), and the failure does not count for the circuit. They wait for about
      `first` where it asks for less: a time that is over would be a request after another.
    - `Failed` without: the message waits. From `opens_after` failures in a row the whole sink
      rests.
    """
    if not isinstance(answer, Failed):
        return structs.replace(sink, failures=0), None
    if answer.after is not None:
        wait = max(min(answer.after, limits.retry_after), _pause(1, chance, limits))
        sink = structs.replace(sink, rests_until=max(sink.rests_until, now + wait))
    else:
        wait = _pause(message.attempts, chance, limits)
        sink = structs.replace(sink, failures=sink.failures + 1)
        if sink.open(limits):
            rest = _pause(sink.failures - limits.opens_after + 1, chance, limits)
            sink = structs.replace(sink, rests_until=max(sink.rests_until, now + rest))
    given_up = now + wait >= message.since + limits.give_up
    return sink, None if given_up else wait


def _pause(times: int, chance: float, limits: Limits) -> float:
    whole = min(limits.longest, limits.first * 2.0 ** min(times - 1, 30))
    return whole * (0.5 + chance / 2)
