"""The messages that wait for one sink, and which of them goes next. No I/O, no clock.

- **Order.** Messages of one key go in the order in which they were submitted, one at a time. Keys
  do not wait for each other.
- **Replacing.** Only what was never tried is replaced. A message replaces the one before it of the
  same key and action: it says the same, and newer. A resolve replaces all untried messages of its
  key. Where nothing of a key was ever tried, its trigger and its resolve are both dropped: nobody
  was told, and there is nothing left to tell. A trigger that was tried may have arrived, so it is
  tried until it is taken, and its resolve follows it.
- **References.** What the sink answered for a key goes into the next message of that key, for a
  caller that submits it before it knows the answer.
"""

import heapq
from collections import OrderedDict, deque

from msgspec import Struct, field, structs

from alerts.notification import Answer, Delivered, Failed, Notification, Refused
from alerts.pacing import Breaker, Limits, Tried, next_step

_REFERENCES = 20_000  # keys whose reference is remembered


class GivenUp(Struct, frozen=True):
    """It was tried until the limit; `why` is the last failure."""

    why: str


class Superseded(Struct, frozen=True):
    """It was never tried, as a newer message of its key, number `by`, made it needless."""

    by: int


Outcome = Delivered | Refused | GivenUp | Superseded


class Result(Struct, frozen=True):
    """What became of a message; it is the last thing that is said of it."""

    sink: str
    notification: Notification
    outcome: Outcome
    attempts: int


class _Waiting(Struct, eq=False):
    """`tried`: it may have reached the sink, so it is not replaced."""

    notification: Notification
    since: float
    tried: bool
    attempts: int = 0
    over: bool = False


class _Key(Struct, eq=False):
    """`sent`: something of this key may have reached the sink. `ticket` marks the one entry of the
    heap that counts."""

    sent: bool
    messages: deque[_Waiting] = field(default_factory=deque)
    flying: bool = False
    ticket: int = 0


class SinkQueue:
    """What waits for one sink. Not safe for several threads."""

    def __init__(self, sink: str, limits: Limits) -> None:
        self.breaker = Breaker()
        self.last_failure = ""
        self.pending = 0  # messages that wait or are under way
        self._sink = sink
        self._limits = limits
        self._keys: dict[str, _Key] = {}
        self._due: list[tuple[float, int, str]] = []  # a heap: when, ticket, key
        self._tickets = 0
        self._flying = 0
        self._ages: deque[tuple[str, _Waiting]] = deque()  # in the order of `since`
        self._references: OrderedDict[str, str] = OrderedDict()

    def oldest(self, now: float) -> float:
        """For how many seconds the oldest message has waited, as far as another thread can tell; 0
        where none does."""
        try:
            return now - self._ages[0][1].since
        except IndexError:
            return 0.0

    def submit(self, new: Notification, now: float, *, in_doubt: bool = False) -> list[Result]:
        """Take a message. `in_doubt`: an earlier process may have sent it. Returns what it
        replaced."""
        key = self._keys.get(new.key)
        if key is None:
            key = _Key(sent=in_doubt or new.number > 1)
            self._keys[new.key] = key
        replaced = self._replaced(key, new)
        results = [Result(self._sink, each, Superseded(new.number), 0) for each in replaced]
        if new.action == "resolve" and not key.sent and not key.messages:
            del self._keys[new.key]
            return [*results, Result(self._sink, new, Superseded(new.number), 0)]
        message = _Waiting(new, now, tried=in_doubt)
        self.pending += 1
        key.sent = key.sent or in_doubt
        key.messages.append(message)
        self._ages.append((new.key, message))
        if not key.flying and len(key.messages) == 1:
            self._schedule(new.key, key, now)
        return results

    def _replaced(self, key: _Key, new: Notification) -> list[Notification]:
        found: list[Notification] = []
        while key.messages and not (key.flying and len(key.messages) == 1):
            last = key.messages[-1]
            old = last.notification
            same = old.action == new.action and old.to == new.to
            if last.tried or old.action == "resolve" or not (same or new.action == "resolve"):
                break
            key.messages.pop()
            last.over = True
            self.pending -= 1
            found.append(old)
            if new.action != "resolve":
                break
        return found[::-1]

    def take(self, now: float) -> Notification | float | None:
        """The message to send now; or the seconds until there may be one; or None: wait for an
        answer or a new message."""
        allowed = 1 if self.breaker.open(self._limits) else self._limits.in_flight
        if self._flying >= allowed:
            return None
        while self._due:
            when, ticket, name = self._due[0]
            key = self._keys.get(name)
            if key is None or key.ticket != ticket:
                heapq.heappop(self._due)
                continue
            wait = max(when, self.breaker.rests_until) - now
            if wait > 0:
                return wait
            heapq.heappop(self._due)
            message = key.messages[0]
            message.attempts += 1
            message.tried = key.flying = key.sent = True
            self._flying += 1
            known = message.notification.reference or self._references.get(name)
            return structs.replace(message.notification, reference=known)
        return None

    def answered(self, name: str, answer: Answer, now: float, chance: float) -> list[Result]:
        """The sink's answer to the message of this key that is under way. Returns what is over."""
        key = self._keys[name]
        message = key.messages[0]
        key.flying = False
        self._flying -= 1
        tried = Tried(message.attempts, message.since)
        self.breaker, wait = next_step(
            self.breaker, tried, answer, now=now, chance=chance, limits=self._limits
        )
        if isinstance(answer, Failed):
            self.last_failure = answer.why
            if wait is not None:
                self._schedule(name, key, now + wait)
                return []
            return [self._over(name, key, GivenUp(answer.why), now)]
        if isinstance(answer, Delivered):
            self._remember(name, message.notification, answer)
        return [self._over(name, key, answer, now)]

    def expired(self, now: float) -> list[Result]:
        """Give up what has waited too long, tried or not: while a sink is away, most messages are
        not tried."""
        found: list[Result] = []
        while self._forget_ages():
            name, message = self._ages[0]
            key = self._keys[name]
            if now < message.since + self._limits.give_up or key.flying:
                break
            why = self.last_failure or "its turn did not come"
            found.append(self._over(name, key, GivenUp(why), now))
        return found

    def _over(self, name: str, key: _Key, outcome: Outcome, now: float) -> Result:
        message = key.messages.popleft()
        message.over = True
        self.pending -= 1
        if key.messages:
            self._schedule(name, key, now)
        else:
            del self._keys[name]
        return Result(self._sink, message.notification, outcome, message.attempts)

    def _schedule(self, name: str, key: _Key, when: float) -> None:
        self._tickets += 1
        key.ticket = self._tickets
        heapq.heappush(self._due, (when, self._tickets, name))

    def _remember(self, name: str, sent: Notification, answer: Delivered) -> None:
        if sent.action == "resolve":
            self._references.pop(name, None)
        elif answer.reference is not None:
            self._references[name] = answer.reference
            self._references.move_to_end(name)
            if len(self._references) > _REFERENCES:
                self._references.popitem(last=False)

    def _forget_ages(self) -> bool:
        """Drop the entries of what is over; whether any is left."""
        while self._ages and self._ages[0][1].over:
            self._ages.popleft()
        return bool(self._ages)
