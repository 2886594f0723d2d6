"""How much is written for an output, as tasks grow: a commit for each output."""

from collections.abc import Iterator
from random import Random
from typing import Any, Final

import msgspec

from processors.integrity.limits import Limits
from schemas.flow import Record
from tests.sidebyside.compare import Pair
from tests.sidebyside.worlds import BENCHMARK, OUTPUTS, PlayedWorld, documents_of
from tests.simulated.story import START, StoryStep

OUTPUTS_A_TASK: Final = (4, 40, 400, 1000)
WORDS: Final = ("hail", "roof", "gutter", "cellar", "water", "pump", "ceiling", "plaster", "boiler")
TEXT: Final = 70  # words of an output: it has 0.65 KB then
HANDS_OFF: Final = 4  # each so manieth output does


def table(pair: Pair) -> Iterator[str]:
    """Bytes in the changelog an output, and of the state at the end, of one task."""
    yield "bytes an output; `new names`: each output has names of its own, `same`: all the same one"
    yield f"{'':24}{'input':>8}{'changelog here':>18}{'there':>12}{'state here':>18}{'there':>12}"
    for names in ("same", "new names"):
        for outputs in OUTPUTS_A_TASK:
            world, sent = _task(outputs, names)
            ours, theirs = pair.play(world)
            for result in (ours, theirs):
                if result.error:
                    raise SystemExit(result.error)
            here, there = ours.written / outputs, theirs.written / outputs
            yield (
                f"{names:12}{outputs:6} outputs{sent / outputs:6,.0f}"
                f"{here:18,.0f}{there:12,.0f}{ours.state:18,}{theirs.state:12,}"
            )


def _task(outputs: int, names: str) -> tuple[PlayedWorld, int]:
    """A claim of so many outputs, and the bytes of them all."""
    random = Random(outputs)
    steps = [StoryStep(1, START, documents_of(BENCHMARK.read_text()))]
    sent = 0
    for number in range(outputs):
        text = " ".join(random.choices(WORDS, k=TEXT))
        suffix = f"_{number}" if names == "new names" else ""
        context: dict[str, Any] = {f"incident{suffix}": text[:200], f"remarks{suffix}": text[200:]}
        body: dict[str, Any] = {
            "id": f"out-{number:010d}",
            "task_id": "claim-1",
            "workflow": "claim",
            "stage": "inspect",
            "tool": "photo-triage",
            "team": "claims",
            "occurred_at": START + number,
            "context": context,
        }
        if number % HANDS_OFF == HANDS_OFF - 1:
            body |= {"stage": "decide", "handoff": {"to": "payout", "contract": "claim-to-payout"}}
        value = msgspec.json.encode(body)
        sent += len(value)
        at = START + number
        record = Record(OUTPUTS, 0, number, b"claim-1", value, at)
        steps.append(StoryStep(number + 2, at, record, "claim-1"))
    return PlayedWorld(f"{outputs} outputs", Limits(), tuple(steps)).committed(), sent
