"""`handoff alerts silence` and `silences`: what is told nobody, for a time."""

import uuid
from datetime import UTC, datetime

import click
import msgspec
from msgspec.structs import replace

from console import output
from console.errors import BadInputError
from console.kafka import connect, read_table, write_all
from console.lines import moment
from schemas.alerts import SILENCES, AlertSilence
from schemas.printable import plain
from schemas.routes import MATCHED
from schemas.serde import utc
from schemas.unreadable import UNREADABLE
from schemas.values import parse_duration

_silence = msgspec.json.Decoder(AlertSilence).decode
_encode = msgspec.json.Encoder().encode


@click.command("silence")
@click.argument("match", metavar="NAME=TEXT...", nargs=-1)
@click.option("--for", "span", metavar="DURATION", help="How long, such as PT2H.")
@click.option("--from", "begin", metavar="TIME", help="When it begins; else now.")
@click.option("--until", "end", metavar="TIME", help="When it ends, in place of --for.")
@click.option("--by", required=True, help="Who wants it.")
@click.option("--reason", required=True, help="Why.")
@click.option("--end", "ended", metavar="ID", help="End this silence, in place of a new one.")
def silence(
    match: tuple[str, ...],
    span: str | None,
    begin: str | None,
    end: str | None,
    by: str,
    reason: str,
    ended: str | None,
) -> None:
    """Tell nobody of what matches, for a time: workflow=inbound-lead kind=not_accepted.

    NAME is workflow, contract, kind, severity, receiver or owner; `*` in TEXT stands for anything
    (`\\*` for a star), and a NAME may be given again. What still fires at the end is told.
    """
    cluster = connect()
    if ended is not None:
        if ended not in read_table(cluster, SILENCES):
            raise BadInputError(f"there is no silence {ended!r}; see: handoff alerts silences")
        write_all(cluster, SILENCES, [(ended, None)])
        output.say(f"ended  {ended}")
        return
    wanted: dict[str, list[str]] = {}
    for each in match:
        name, _, text = each.partition("=")
        if name not in MATCHED or not text:
            raise BadInputError(f"{each!r} is not NAME=TEXT with a NAME of {', '.join(MATCHED)}")
        wanted.setdefault(name, []).append(text)
    if not wanted:
        raise BadInputError("say what is silenced, such as workflow=inbound-lead; all: workflow=*")
    starts = datetime.now(UTC) if begin is None else utc(moment(begin))
    if (span is None) == (end is None):
        raise BadInputError("say how long with --for, or until when with --until")
    if span is not None:
        try:
            ends = starts + parse_duration(span)
        except ValueError as error:
            raise BadInputError(f"--for: {error}") from None
    else:
        ends = utc(moment(end or ""))
    if ends <= max(starts, datetime.now(UTC)):
        raise BadInputError("the silence would end before it begins, or has ended already")
    made = AlertSilence(
        id=f"s-{uuid.uuid4().hex[:12]}",
        match=wanted,
        starts_at=starts,
        ends_at=ends,
        by=by,
        reason=reason,
    )
    write_all(cluster, SILENCES, [(made.id, _encode(made))])
    output.say(f"silenced  {made.id}  until {ends:%Y-%m-%d %H:%M} UTC")


@click.command("silences")
@output.as_json
def silences(output_: str) -> None:
    """The silences that have not ended."""
    now = datetime.now(UTC)
    found: list[AlertSilence] = []
    for key, value in read_table(connect(), SILENCES).items():
        try:
            # The key ends it, whatever it says of itself.
            found.append(replace(_silence(value), id=key))
        except UNREADABLE:
            output.say(f"{plain(key)} cannot be read: a newer version, or not ours", err=True)
    found = sorted((s for s in found if s.ends_at > now), key=lambda s: (s.ends_at, s.id))
    with output.ends_cleanly():
        if output_ == "json":
            for each in found:
                output.line(_encode(each))
        elif not found:
            output.say("nothing is silenced", err=True)
        else:
            output.columns(
                ["id", "matches", "from", "until", "by", "reason"],
                [
                    [
                        each.id,
                        " ".join(f"{n}={t}" for n, ts in each.match.items() for t in ts),
                        f"{each.starts_at:%Y-%m-%d %H:%M}",
                        f"{each.ends_at:%Y-%m-%d %H:%M}",
                        each.by,
                        each.reason,
                    ]
                    for each in found
                ],
            )
