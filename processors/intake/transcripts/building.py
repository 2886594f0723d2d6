"""The one builder of tool outputs from steps.

- *Stage*: the active agent, as its name is spelled; where nobody is named, the stage that was
  given. Handing off makes the receiver active.
- *Context*: a call's arguments under their own names; its result whole under the tool's name, and
  the members of a result that is an object under theirs. A member counts before an argument: an
  argument is what was asked for, a result what is true. A result that is an error tells nothing
  about the task: its output has no context. What people and agents say is `user_said` and
  `assistant_said`.
- *Handoff*: between agents it carries the history of the run, for the next one sees the
  conversation. Where its input was recorded and lacks something that was captured before, it
  carries what the input shows and no more. Who is outside of the conversation sees the call's
  arguments alone.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import UNSET, Struct

from processors.intake.transcripts.results import arguments_of, members_of
from processors.intake.transcripts.steps import Became, HandedOff, ShownInput, Spoken, Step, Used
from processors.intake.transcripts.trees import encode, unfold
from schemas.records import MAX_NAME_BYTES

NOTHING: Final[Mapping[str, Any]] = {}
_LEAST_TEXT = 2  # a shorter text stands in any input by chance


class Defaults(Struct, frozen=True):
    """What outputs have where the format says nothing: `team` is that of the given stage."""

    workflow: str = "conversation"
    stage: str = "assistant"
    team: str = "assistants"


class _Captured(Struct):
    """What was captured earlier in the run, and how an input shows it."""

    call_id: str
    text: str
    context: dict[str, Any]


class Counts(Struct):
    """What was built of the steps, and what was not."""

    outputs: int = 0
    handoffs: int = 0
    unrecorded: int = 0
    left_out: dict[str, int] = {}

    def leave_out(self, why: str) -> None:
        self.left_out[why] = self.left_out.get(why, 0) + 1


class Builder:
    """Makes the outputs of one run of one task."""

    def __init__(
        self, task: str, run: str, defaults: Defaults, counts: Counts, remembers: bool = True
    ) -> None:
        self.task = shortened(task) or "task"
        self.run = shortened(run)
        self.agent = ""
        self._outside = False
        self._defaults = defaults
        self._counts = counts
        self._remembers = remembers
        self._captured: list[_Captured] = []
        self._replaced: Mapping[str, Any] = NOTHING

    def take(self, step: Step, replaced: Mapping[str, Any] = NOTHING) -> bytes | None:
        """One line of JSON, or None where the step makes no output. `replaced` are members of it
        that count in the place of its own; `occurred_at` in epoch ms."""
        self._replaced = replaced
        if isinstance(step, Became):
            self.agent = step.agent
            return None
        if isinstance(step, Spoken):
            if self._outside:
                # The one that has the task now does not read on here.
                self._counts.leave_out("said after the task was handed to somebody outside")
                return None
            context = {f"{step.role}_said": step.text}
            self._capture("", step.text, context)
            return self._output(step.key, step.at, step.role, context)
        if isinstance(step, Used):
            return self._used(step)
        return self._handed(step)

    def _used(self, step: Used) -> bytes | None:
        if step.arguments is UNSET and step.result is UNSET and not step.failed:
            self._counts.unrecorded += 1
        members = None if step.failed else members_of(step.tool, step.result)
        context = {} if members is None else arguments_of(step.arguments) | members
        self._capture(step.call_id, _whole(step.result), context)
        return self._output(step.key, step.at, step.tool, context, agent=step.agent)

    def _handed(self, step: HandedOff) -> bytes | None:
        if step.failed:
            return self._output(step.key, step.at, step.tool, {}, agent=step.agent)
        context = arguments_of(step.arguments)
        handoff = {"to": shortened(step.to)}
        if step.outside:
            self._outside = True
        elif step.seen is None or all(_shows(step.seen, one) for one in self._captured):
            handoff["carries"] = "history"
        else:
            for one in self._captured:
                if _shows(step.seen, one):
                    context = one.context | context
        line = self._output(
            step.key, step.at, step.tool, context=context, handoff=handoff, agent=step.agent
        )
        if not step.outside:
            self.agent = step.to
        return line

    def _capture(self, call_id: str, text: str, context: dict[str, Any]) -> None:
        if self._remembers and context:
            self._captured.append(_Captured(call_id, text, context))

    def _output(
        self,
        key: str,
        at: int | None,
        tool: str,
        context: dict[str, Any],
        handoff: dict[str, str] | None = None,
        agent: str = "",
    ) -> bytes | None:
        agent, run = agent or self.agent, self.run
        output: dict[str, Any] = {
            # A span's id is one within its trace, and a task may have several.
            "id": shortened(f"{self.task}#{key if run == self.task else f'{run}:{key}'}"),
            "task_id": self.task,
            "workflow": shortened(self._defaults.workflow),
            "stage": shortened(agent or self._defaults.stage),
            "tool": shortened(tool) or "tool",
            "team": shortened(agent or self._defaults.team),
            "occurred_at": datetime.fromtimestamp((at or 0) / 1000, UTC),
            "run": run,
            "context": context,
        }
        if handoff is not None:
            output["handoff"] = handoff
        output |= self._replaced
        try:
            line = encode(output)
        except UnicodeEncodeError:
            self._counts.leave_out("a text that holds half a character (a lone surrogate)")
            return None
        except RecursionError:
            self._counts.leave_out("a value that nests too deep")
            return None
        self._counts.outputs += 1
        self._counts.handoffs += handoff is not None
        return line


def _shows(seen: ShownInput, one: _Captured) -> bool:
    if one.call_id and one.call_id in seen.calls:
        return True
    return len(one.text) < _LEAST_TEXT or one.text in seen.text


def _whole(result: Any) -> str:
    """A result as an input would show it."""
    if isinstance(result, str):
        return result
    return "" if result is UNSET or result is None else str(encode(unfold(result)), "utf-8")


def shortened(name: str) -> str:
    """A name that fits a record: a longer one ends in a part of its SHA-256."""
    name = name.encode("utf-8", "replace").decode()
    data = name.encode()
    if len(data) <= MAX_NAME_BYTES:
        return name
    kept = data[: MAX_NAME_BYTES - 17].decode("utf-8", "ignore")
    return f"{kept}-{hashlib.sha256(data).hexdigest()[:16]}"
