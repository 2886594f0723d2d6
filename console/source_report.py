"""What a trial of a source found, for people and for programs."""

from collections import Counter
from typing import Any, Final

import msgspec

from console import output
from console.source_trial import KEPT, Trial, Tried, handoffs_of, near, unregistered
from processors.intake.compiled import TOOL_OUTPUTS
from processors.intake.reads import shown
from schemas.alerts import ACTIONS
from schemas.loading import Documents
from schemas.printable import listed

_MOST_ROWS: Final = 10


def tell(one: Tried) -> None:
    """What a record became, a line for each output."""
    lead = f"{one.number:>5}  "
    if one.mapped.skipped is not None and one.mapped.skipped.code == KEPT:
        output.say(f"{lead}{one.mapped.skipped.message}")
    elif one.mapped.skipped is not None:
        output.say(f"{lead}left out: {one.mapped.skipped.message} ({one.mapped.skipped.code})")
    elif one.mapped.refused is not None:
        output.say(f"{lead}refused: {one.mapped.refused.message} ({one.mapped.refused.code})")
    for made, value in zip(one.mapped.records, one.outputs, strict=True):
        output.say(lead + _told(made.topic, value))
        lead = " " * len(lead)


def _told(topic: str, value: dict[str, Any]) -> str:
    if topic == ACTIONS:
        return f"alert {value['key']}: {value['action']} by {value['by']}"
    if topic != TOOL_OUTPUTS:
        return f"{value['task_id']}  ack {value['id']}: {value['status']} by {value['by']}"
    words = [f"{value['task_id']}  {value['id']}"]
    words.append(f"at {value['stage']}" if value.get("stage") else "where the task is")
    names = list(value.get("context", {}))
    if names:
        words.append(f"with {listed(names)}")
    if value.get("retracted"):
        words.append(f"takes back {listed(value['retracted'])}")
    for handoff in handoffs_of(value):
        words.append(f"hands off to {handoff['to']}")
    if value.get("accepts") is False:
        words.append("accepts nothing")
    return ", ".join(words)


def summarise(trial: Trial, beside: Documents | None) -> None:
    """Print what a person needs to trust a source; `beside` are contracts and receivers."""
    say = output.say
    say("")
    say(
        f"{trial.source.source.id}: {output.number(trial.records, 'record')}: {trial.mapped:,} "
        f"mapped, {trial.skipped.total():,} left out, {trial.refused.total():,} refused; "
        f"{output.number(trial.outputs, 'output')} and {output.number(trial.acks, 'ack')}"
    )
    if trial.alert_actions:
        say(f"  {output.number(trial.alert_actions, 'alert action')}")
    for title, counter in (("left out", trial.skipped), ("refused", trial.refused)):
        if counter:
            say(f"  {title}: {counted(counter)}")
    unknown = {} if beside is None else unregistered(trial, beside.contracts, beside.receivers)
    for title, counter in (
        ("stages", trial.stages),
        ("teams", trial.teams),
        ("receivers", trial.receivers),
    ):
        if counter:
            say(f"  {title}: {counted(counter)}")
            if unknown.get(title):
                where = "contract" if title == "stages" else "receiver"
                say(f"    that no {where} knows: {listed(unknown[title])}")
            for alike in near(counter):
                say(f"    the same but for spelling? {' / '.join(alike)}")
    if trial.unused:
        say("  what nothing reads, by how many records have it:")
        for place, number in trial.unused.most_common(_MOST_ROWS):
            say(f"    {number:>6,}  {shown(place)}")
        more = len(trial.unused) - _MOST_ROWS
        if more > 0:
            say(f"            and {more:,} more")
    absent = trial.absent()
    for path, near_ in absent[:_MOST_ROWS]:
        meant = f"; did you mean {near_}?" if near_ else ""
        say(f"  reads {path}, which no record has{meant}")
    if len(absent) > _MOST_ROWS:
        say(f"    and {len(absent) - _MOST_ROWS:,} more paths that no record has")
    for (table, key), number in trial.misses.most_common(_MOST_ROWS):
        say(f"  look-up {table} lacks {key!r}: {output.number(number, 'time')}")
    if trial.repeated:
        say(
            f"  {output.number(trial.repeated.total(), 'output')} with an id that was there "
            f"before, which count once: {listed(list(trial.repeated))}"
        )
    if trial.single():
        wrong = "; wrong task?" if trial.single() * 2 > len(trial.tasks) > 1 else ""
        say(
            f"  {trial.single():,} of {output.number(len(trial.tasks), 'task')} with one record "
            f"only{wrong}"
        )
    if trial.disorder:
        say(
            f"  {output.number(trial.disorder, 'output')} older than one before in the same task: "
            "they move no task"
        )


def counted(counter: Counter[str]) -> str:
    """Names with their counts, the most frequent first."""
    return listed([f"{name} {number:,}" for name, number in counter.most_common()])


def as_json(
    trials: dict[str, Trial],
    tried: list[Tried],
    beside: Documents | None,
    judged: dict[str, Any] | None,
) -> dict[str, Any]:
    return {
        "records": [
            {
                "line": one.number,
                "outputs": [
                    {
                        "topic": made.topic,
                        "key": (made.key or b"").decode(),
                        "headers": {name: (text or b"").decode() for name, text in made.headers},
                        "value": msgspec.Raw(made.value or b"null"),
                    }
                    for made in one.mapped.records
                ],
                "skipped": one.mapped.skipped,
                "refused": None
                if one.mapped.refused is None
                else {"code": one.mapped.refused.code, "message": one.mapped.refused.message},
            }
            for one in tried
        ],
        "sources": {
            name: {
                "records": trial.records,
                "mapped": trial.mapped,
                "skipped": trial.skipped,
                "refused": trial.refused,
                "outputs": trial.outputs,
                "acks": trial.acks,
                "alert_actions": trial.alert_actions,
                "stages": trial.stages,
                "teams": trial.teams,
                "receivers": trial.receivers,
                "unregistered": {}
                if beside is None
                else unregistered(trial, beside.contracts, beside.receivers),
                "near": [*near(trial.stages), *near(trial.teams), *near(trial.receivers)],
                "unused": {shown(place): number for place, number in trial.unused.items()},
                "absent": dict(trial.absent()),
                "lookup_misses": [
                    {"lookup": table, "key": key, "records": number}
                    for (table, key), number in trial.misses.items()
                ],
                "repeated": trial.repeated,
                "tasks": len(trial.tasks),
                "tasks_with_one_record": trial.single(),
                "disorder": trial.disorder,
            }
            for name, trial in trials.items()
        },
        "judged": judged,
    }
