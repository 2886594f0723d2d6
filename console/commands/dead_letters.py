"""`handoff dead-letters`: the inputs that could not be understood, and why."""

from collections.abc import Iterator

import click
import msgspec

from console import output
from console.commands.documents import shown_by
from console.dry_run import printed
from console.errors import BadInputError
from console.kafka import Cluster, connect, read_all
from console.veiled import veiled, veiled_headers
from schemas import serde
from schemas.flow import Record
from schemas.printable import plain
from schemas.records import DeadLetter


@click.command("list")
@output.as_json
def list_letters(output_: str) -> None:
    """Every dead letter: where it came from and what was wrong."""
    found = [  # without the values: they may be large
        (record.partition, record.offset, _read(record)) for record in _letters(connect())
    ]
    found.sort(key=lambda each: each[:2])
    with output.ends_cleanly():
        if output_ == "json":
            for partition, offset, letter in found:
                members: dict[str, object] = msgspec.to_builtins(letter)
                output.line(msgspec.json.encode({"id": f"{partition}/{offset}", **members}))
            return
        if not found:
            output.say("no dead letters", err=True)
            return
        output.columns(
            ["id", "topic", "partition", "offset", "exception", "message"],
            [
                [
                    f"{partition}/{offset}",
                    letter.topic,
                    str(letter.partition),
                    str(letter.offset),
                    letter.exception,
                    letter.message,
                ]
                for partition, offset, letter in found
            ],
        )
        output.say("the whole of one: handoff dead-letters show ID", err=True)


@click.command("show")
@output.as_json
@click.argument("letter_id", metavar="ID")
def show(output_: str, letter_id: str) -> None:
    """One dead letter whole: its headers and its value. ID is as `list` prints it.

    In the form for people, what any contract classifies is masked. Where anything is classified at
    all, so are the headers that the input had, and where the value is not JSON or has a name twice,
    each word of it. `--output json` leaves it as it is.
    """
    cluster = connect()
    record = _find(cluster, letter_id)
    if output_ == "json":
        output.line(printed(record.topic, record.key, record.value, record.headers))
        return
    key = "none" if record.key is None else plain(record.key.decode("utf-8", "backslashreplace"))
    output.say(f"key: {key}")
    classified = shown_by(cluster).classified(None)
    headers = veiled_headers(record.headers, classified)
    for name, content in headers:
        text = (content or b"").decode("utf-8", "backslashreplace").rstrip("\n")
        shown = "\n    ".join(plain(part) for part in text.split("\n"))
        output.say(f"{plain(name)}: {shown}".rstrip())
    output.say("value: none (a tombstone)" if record.value is None else "value:")
    masked = None if record.value is None else veiled(record.value, classified)
    if record.value is not None:
        output.say(_shown(record.value) if masked is None else masked)
    if masked is not None or headers != record.headers:
        output.say("what is classified is masked; as it is: --output json", err=True)


def _shown(value: bytes) -> str:
    """The value as text, or its bytes in hexadecimal, sixteen a line."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        rows = (value[at : at + 16] for at in range(0, len(value), 16))
        return "\n".join(f"{at * 16:08x}  {row.hex(' ')}" for at, row in enumerate(rows))


def _letters(cluster: Cluster) -> Iterator[Record]:
    return read_all(cluster, [serde.DEAD_LETTERS], "dead letters")


def _find(cluster: Cluster, letter_id: str) -> Record:
    partition, slash, offset = letter_id.partition("/")
    if not (slash and partition.isdecimal() and offset.isdecimal()):
        raise BadInputError(
            f"{letter_id!r} is no id of a dead letter: PARTITION/OFFSET, as in 3/17"
        )
    wanted = partition.lstrip("0") or "0", offset.lstrip("0") or "0"
    for record in _letters(cluster):
        if (str(record.partition), str(record.offset)) == wanted:
            return record
    raise BadInputError(f"there is no dead letter {letter_id}; see: handoff dead-letters list")


def _read(record: Record) -> DeadLetter:
    try:
        return serde.read_dead_letter(record)
    except ValueError as error:
        return DeadLetter(
            "?",
            -1,
            -1,
            key=None,
            exception="unreadable",
            message=str(error),
            stacktrace="",
            size=None,
        )
