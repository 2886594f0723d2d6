"""`handoff send`: tool outputs from lines onto the cluster."""

import re
import sys
import time
from pathlib import PurePath
from typing import Any

import click

from console import output
from console.dry_run import is_backfill
from console.errors import BAD_INPUT, BadInputError, DeclinedError
from console.kafka import Writer, connect
from console.limits import limits
from console.lines import INPUTS, NOT_JSON, TOOL_OUTPUTS, Line, check_readable, warned_lines
from console.output import Progress, number
from processors.integrity.processor import integrity
from processors.processor import Processor
from schemas import serde
from schemas.flow import Record, Refused
from topics.rights import missing

# So many bad lines are named one by one; the others are counted.
_NAMED = 20
# How a YAML document begins: with a key, or with the line that is between two of them.
_YAML = re.compile(rb"---|[A-Za-z_][\w-]*:(\s|$)")


class _BadLines:
    """Names the bad lines of a file as they come, the first one once there is a line of JSON: a
    file without any may be something else."""

    def __init__(self, file: str) -> None:
        self.count = 0
        self._file = file
        self._any_json = False
        self._waiting: list[str] = []
        self._begins_as_yaml: bool | None = None

    def look(self, line: Line, problem: str | None) -> None:
        """Note the next line, and what is wrong with it."""
        if problem is not None:
            self.count += 1
            if self.count <= _NAMED:
                self._waiting.append(f"{self._file}, line {line.number}: {problem}")
        if line.problem is None or not line.problem.startswith(NOT_JSON):
            self._any_json = True
        elif self._begins_as_yaml is None and not line.value.startswith(b"#"):
            self._begins_as_yaml = bool(_YAML.match(line.value))
        if self._any_json:
            self.tell()

    def tell(self) -> None:
        """Name what was not named yet."""
        for said in self._waiting:
            output.say(said, err=True)
        self._waiting.clear()

    @property
    def yaml(self) -> bool:
        """Whether the file has no line of JSON, and looks like YAML."""
        named_so = PurePath(self._file).suffix in (".yaml", ".yml")
        return self.count > 0 and not self._any_json and (named_so or bool(self._begins_as_yaml))


@click.command()
@click.argument("file")
def send(file: str) -> None:
    """Send the lines of FILE to the cluster, and wait.

    FILE is plain or gzip, - is standard input. Each line is a tool output, or
    {"topic": "handoff.acks", "value": {...}} for an ack or amendment. Contracts and receivers are
    no lines for this command: `contracts apply` and `receivers apply` register them.
    Lines older than a day (the setting backfill_after_ms) are marked as backfill, so that a replay
    pages no one. Of members that no record has, standard error says so; they are sent and ignored.
    A bad line is named by its number; exit status 2 when there was one.
    """
    check_readable(file)
    cluster = connect()
    processor = integrity(limits(cluster.settings))
    lacking = cluster.lacking("WRITE", INPUTS)
    if len(lacking) == len(INPUTS):  # else the file may do without
        raise DeclinedError(missing(lacking))
    writer = Writer(cluster)
    bad = _BadLines(file)
    progress = Progress(lambda: f"{number(writer.delivered, 'record')} taken")
    now = int(time.time() * 1000)
    try:
        for line in warned_lines(file):
            progress.tick()
            problem = _problem(line, now, processor)
            bad.look(line, problem)
            if line.key is not None and line.topic in INPUTS:
                old = is_backfill(line, now - cluster.settings.backfill_after_ms)
                headers = [(serde.BACKFILL_HEADER, b"1")] if old else []
                place = f"{file}, line {line.number}"
                writer.write(line.topic, line.key, line.value, headers, place)
    finally:
        writer.flush()
        if not bad.yaml:
            bad.tell()
        output.say(_total(writer.delivered, 0 if bad.yaml else bad.count), err=True)
    if bad.yaml:
        path = "PATH" if file == "-" else file
        raise BadInputError(
            f"{file} looks like YAML: no line of it is JSON. Contracts and receivers are "
            f"registered with handoff contracts apply {path} and handoff receivers apply {path}"
        )
    if writer.failed:
        for place, reason in writer.failed[:_NAMED]:
            output.say(f"{place}: not taken by the cluster: {reason}", err=True)
        failed = number(len(writer.failed), "record")
        raise writer.error(f"the cluster did not take {failed}; send again")
    if bad.count:
        sys.exit(BAD_INPUT)


def _problem(line: Line, now: int, processor: Processor[Any]) -> str | None:
    """What is wrong with a line, as far as the processor itself can tell without its state: an ack
    or amendment may contradict itself whatever the handoff is."""
    if line.problem is not None:
        return f"not sent: {line.problem}"
    if line.topic not in INPUTS:
        return (
            f"not sent: {line.topic} is no input; documents are registered with "
            "handoff contracts apply and handoff receivers apply"
        )
    try:
        record = Record(line.topic, 0, 0, key=line.key, value=line.value, timestamp=now)
        event = processor.parse(record, now)
        if line.topic != TOOL_OUTPUTS:
            none = processor.build_tables({name: {} for name in processor.tables}, None)
            processor.advance(None, event, none, now)
    except Refused as error:
        return f"sent, and becomes a dead letter: {error.message}"
    return None


def _total(delivered: int, bad: int) -> str:
    named = f"; {number(bad, 'bad line')}" if bad else ""
    more = f", the first {_NAMED} named above" if bad > _NAMED else ""
    return f"{number(delivered, 'record')} sent{named}{more}"
