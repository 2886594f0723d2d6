"""Messages as steps: who called what, what came back, and what was counted before.

A conversation comes again in each request of it, longer. A record without an id of its own goes on
with the conversation whose messages it begins with, or with that which has one of its calls; what
came before is not counted again. System messages are no part of that: each agent has its own.
"""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from msgspec import Struct

from processors.intake.transcripts.building import Builder, Counts, Defaults, shortened
from processors.intake.transcripts.errors import TranscriptError
from processors.intake.transcripts.messages import Message, ToolAnswer, ToolCall
from processors.intake.transcripts.results import members_of
from processors.intake.transcripts.steps import Became, HandedOff, ShownInput, Spoken, Step, Used
from processors.intake.transcripts.trees import encode, of, unfold

# A tool of this name hands the conversation to another agent, in most frameworks.
_TRANSFER = re.compile(r"(?:transfer|handoff|hand_off)_(?:back_)?to_(.+)", re.I)
_TRANSFERRED = re.compile(r"transferred (?:back )?to (.+)", re.I | re.S)  # at a text's end
_LONG_ID = 16  # a call's id with fewer characters may come again in another conversation
Kind = Literal["transcript", "request", "response", "line"]


class Conversation(Struct):
    """What one record shows of a conversation.

    A `transcript` is whole; a `request` has all messages so far, which may come again, longer; a
    `response` is what follows the request before it; a `line` is what follows in its task. Without
    a `task` it has no id of its own.
    """

    kind: Kind
    messages: list[Message]
    task: str = ""


class _Open(Struct):
    """A call that waits for its answer."""

    key: str
    call: ToolCall
    agent: str


class _Known(Struct):
    """A conversation as far as it was read."""

    builder: Builder
    task: str
    count: int = 0
    last: int = 0  # the time of the last message, epoch ms
    tail: bytes = b""
    answered: bool = False
    open: dict[str, list[_Open]] = {}
    seen: set[bytes] = set()
    calls: set[str] = set()


def target(tool: str, outside: Mapping[str, str] | None, result: Any) -> tuple[str, bool] | None:
    """To whom a call of a tool hands off, and whether that is somebody outside; None for none.

    `outside` maps tools to receivers. Any other tool that is named `transfer_to_...` hands off to
    the agent that its result names, or else its own name.
    """
    if outside and tool in outside:
        return outside[tool], True
    named = _TRANSFER.fullmatch(tool)
    if named is None:
        return None
    found = unfold(result)
    spelled = of(found, "assistant")
    if isinstance(spelled, str) and spelled:
        return spelled, False
    told = _TRANSFERRED.search(_last_line(found)) if isinstance(found, str) else None
    return (told[1] if told else named[1]), False


def _last_line(text: str) -> str:
    """Without a full stop: cut here, as a pattern that does it takes hours over long blanks."""
    return text.rstrip().removesuffix(".").rpartition("\n")[2]


class Clock:
    """Times for messages that have none: one second each, from a start (epoch ms)."""

    def __init__(self, start: int) -> None:
        self.now = start
        self.used = False

    def tick(self, at: int | None) -> int:
        """The time of the next message: its own, or else the clock's."""
        now, self.now = self.now, self.now + 1000
        if at is not None:
            return at
        self.used = True
        return now


class Conversations:
    """Reads conversations one after the other. At most `most` that may go on are kept."""

    def __init__(
        self,
        defaults: Defaults,
        counts: Counts,
        clock: Clock,
        outside: Mapping[str, str],
        agents: bool = True,
        most: int = 10_000,
    ) -> None:
        self._defaults = defaults
        self._counts = counts
        self._clock = clock
        self._outside = outside
        self._agents = agents
        self._most = most
        self._tasks: dict[str, None] = {}
        self._tails: dict[bytes, _Known] = {}
        self._ids: dict[str, _Known] = {}
        self._known: OrderedDict[int, _Known] = OrderedDict()
        self._by_task: dict[str, _Known] = {}
        self._last: _Known | None = None

    def take(self, given: Conversation, name: Callable[[], str]) -> Iterator[bytes]:
        """The outputs of what is new in a record; `name` gives names for tasks that have none.

        Raises `TranscriptError` for a task that was there already.
        """
        known, new = self._find(given)
        seen = None
        if known is None:
            known = self._begin(given, name)
        else:
            if not new:
                self._counts.leave_out("a conversation that was read already")
            if given.kind in ("request", "transcript"):
                # It may show less of the conversation than was captured before: a filter cut it.
                seen = _Lazy(given.messages)
        if not known.builder.agent:
            # What was said before the first agent was named was said to it.
            known.builder.agent = next((each.agent for each in new if each.agent), "")
        for message in new:
            yield from self._message(known, message, seen)
        if given.kind == "transcript" and given.task:
            yield from self._unanswered(known)  # without an id it may come again, longer
        self._remember(known, given, new)
        while len(self._known) > self._most:
            yield from self._forget(self._known.popitem(last=False)[1])

    def finish(self) -> Iterator[bytes]:
        """The outputs of what was never answered, when nothing more comes."""
        while self._known:
            yield from self._forget(self._known.popitem(last=False)[1])

    # --- which conversation ---------------------------------------------------------------------

    def _find(self, given: Conversation) -> tuple[_Known | None, list[Message]]:
        """The conversation that a record goes on with, and which of its messages are new."""
        messages = given.messages
        if given.kind == "line":
            return self._by_task.get(given.task), messages
        if given.task:
            return None, messages
        if given.kind == "response":
            known = self._by_id(messages)
            if known is not None and known is not self._last:
                return known, [m for m in messages if _print(m) not in known.seen]
            return self._last, messages
        found, start, tail = None, 0, b""
        for number, message in enumerate(messages, start=1):
            if message.role == "system":
                continue
            tail = _longer(tail, message)
            if tail in self._tails:
                found, start = self._tails[tail], number
        if found is not None and start == len(messages) and found.answered:
            found = None  # the same first request once more: somebody else asks the same
        if found is not None:
            return found, messages[start:]
        known = self._by_id(messages)
        if known is None:
            return None, messages
        return known, [m for m in messages if m.role != "system" and _print(m) not in known.seen]

    def _by_id(self, messages: list[Message]) -> _Known | None:
        for message in messages:
            for call in message.calls:
                if call.id in self._ids:
                    return self._ids[call.id]
            for result in message.results:
                if result.id in self._ids:
                    return self._ids[result.id]
        return None

    def _begin(self, given: Conversation, name: Callable[[], str]) -> _Known:
        task = shortened(given.task)
        if task in self._tasks:
            raise TranscriptError(
                "its task was in an earlier record already; each transcript needs an id of its own"
            )
        while not task or task in self._tasks:
            task = shortened(name())
        self._tasks[task] = None
        made = _Known(Builder(task, task, self._defaults, self._counts), task)
        if given.kind == "line":
            self._by_task[task] = made
        return made

    def _remember(self, known: _Known, given: Conversation, new: list[Message]) -> None:
        """Keep what later records are compared with."""
        self._last = known if given.kind == "request" else None
        if given.task and given.kind != "line":
            return
        self._known[id(known)] = known
        self._known.move_to_end(id(known))
        if given.kind == "line":
            return
        self._tails.pop(known.tail, None)
        tail = known.tail if given.kind == "response" else b""
        for message in given.messages:
            if message.role != "system":
                tail = _longer(tail, message)
        known.tail = tail
        known.answered = given.kind != "request"
        self._tails[tail] = known
        for message in new:
            known.seen.add(_print(message))
            for call in message.calls:
                if len(call.id) >= _LONG_ID:
                    self._ids[call.id] = known
                    known.calls.add(call.id)

    def _forget(self, known: _Known) -> Iterator[bytes]:
        self._tails.pop(known.tail, None)
        for call_id in known.calls:
            self._ids.pop(call_id, None)
        yield from self._unanswered(known)

    # --- steps ----------------------------------------------------------------------------------

    def _message(self, known: _Known, message: Message, seen: "_Lazy | None") -> Iterator[bytes]:
        number = known.count
        known.count += 1
        at = known.last = self._clock.tick(message.at)
        for step in self._steps(known, message, number, at, seen):
            line = known.builder.take(step)
            if line is not None:
                yield line

    def _steps(
        self, known: _Known, message: Message, number: int, at: int, seen: "_Lazy | None"
    ) -> Iterator[Step]:
        called = {call.id for call in message.calls}
        yield from self._results(
            known, message, [r for r in message.results if r.id not in called], at, seen
        )
        if message.agent and message.agent != known.builder.agent:
            yield Became(message.agent)
        if message.role in ("user", "assistant") and message.text.strip():
            yield Spoken(str(number), at, message.role, message.text)
        for order, call in enumerate(message.calls):
            opened = _Open(f"{number}.{order}", call, message.agent)
            known.open.setdefault(call.id, []).append(opened)
        # A tool that the model's own server ran: its answer is in the message of its call.
        yield from self._results(
            known, message, [r for r in message.results if r.id in called], at, seen
        )

    def _results(
        self,
        known: _Known,
        message: Message,
        results: list[ToolAnswer],
        at: int,
        seen: "_Lazy | None",
    ) -> Iterator[Step]:
        for result in results:
            opened = _pop(known.open, result)
            if message.by_user:
                self._counts.leave_out("a tool that the user called, and no agent")
            elif opened is None:
                self._counts.leave_out("an answer to a call that is not there")
            else:
                yield self._answered(opened, at, result, seen)

    def _answered(self, opened: _Open, at: int, result: ToolAnswer, seen: "_Lazy | None") -> Step:
        call = opened.call
        to = self._target(call, result.content)
        if to is None:
            return Used(
                key=opened.key,
                at=at,
                tool=call.name,
                arguments=call.arguments,
                result=result.content,
                failed=result.failed,
                call_id=call.id,
                agent=opened.agent,
            )
        failed = result.failed or members_of(call.name, result.content) is None
        shown = None if seen is None else seen.get()
        return HandedOff(
            key=opened.key,
            at=at,
            tool=call.name,
            to=to[0],
            arguments=call.arguments,
            outside=to[1],
            seen=shown,
            failed=failed,
            call_id=call.id,
            agent=opened.agent,
        )

    def _target(self, call: ToolCall, result: Any) -> tuple[str, bool] | None:
        found = target(call.name, self._outside, result)
        return found if found is None or found[1] or self._agents else None

    def _unanswered(self, known: _Known) -> Iterator[bytes]:
        """Handoffs that nobody answered: a log may end there. Other calls made nothing known."""
        for opened in [each for queue in known.open.values() for each in queue]:
            call = opened.call
            to = self._target(call, None)
            if to is None:
                self._counts.leave_out("a call without an answer")
                continue
            at = known.last
            step = HandedOff(
                key=opened.key,
                at=at,
                tool=call.name,
                to=to[0],
                arguments=call.arguments,
                outside=to[1],
            )
            line = known.builder.take(step)
            if line is not None:
                yield line
        known.open = {}


class _Lazy:
    """What an input shows, looked at when somebody is handed off to."""

    def __init__(self, messages: list[Message]) -> None:
        self._messages = messages

    def get(self) -> ShownInput:
        return shown(self._messages)


def shown(messages: list[Message]) -> ShownInput:
    """What messages show to the agent that gets them."""
    calls, texts = set(), []
    for message in messages:
        texts.append(message.text)
        for result in message.results:
            calls.add(result.id)
            content = result.content
            texts.append(content if isinstance(content, str) else str(encode(content), "utf-8"))
    return ShownInput(frozenset(calls), "\n".join(texts))


def _pop(waiting: dict[str, list[_Open]], result: ToolAnswer) -> _Open | None:
    """The call that a result answers: by its id, or without one the first of its tool."""
    queue = waiting.get(result.id)
    if queue:
        for opened in queue:
            if not result.name or opened.call.name == result.name:
                queue.remove(opened)
                return opened
        return queue.pop(0)
    if result.id:
        return None
    for others in waiting.values():
        for opened in others:
            if not result.name or opened.call.name == result.name:
                others.remove(opened)
                return opened
    return None


def _print(message: Message) -> bytes:
    """What a message is told apart by, however it is written."""
    calls = [(call.id, call.name, unfold(call.arguments)) for call in message.calls]
    results = [(result.id, result.content) for result in message.results]
    try:
        data = encode((message.role, message.text, calls, results))
    except (UnicodeEncodeError, RecursionError):
        data = repr(message).encode("utf-8", "replace")
    return hashlib.sha256(data).digest()[:16]


def _longer(tail: bytes, message: Message) -> bytes:
    return hashlib.sha256(tail + _print(message)).digest()[:16]
