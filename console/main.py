"""The command `handoff`: its groups, and what all commands share."""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from console import output
from console.commands import (
    alerts,
    answering,
    audit,
    contracts_diff,
    contracts_replay,
    dead_letters,
    discover,
    doctor,
    documents,
    dry_run,
    edges,
    held,
    imports,
    running,
    send,
    show,
    silences,
    source_registry,
    sources,
    tail,
    topics,
    web,
)
from console.errors import FOUND_PROBLEMS, BadInputError, CommandError
from processors.runtime.logs import log_plainly
from processors.runtime.settings import SettingsError
from schemas.printable import plain_lines

EPILOG = """\b
Exit status: 0 done, 1 problems found, 2 bad input, 3 no broker, 4 refused.
The broker is HANDOFF_KAFKA_BOOTSTRAP_SERVERS, default 127.0.0.1:9092.
"""


class Commands(click.Group):
    """A group that names the nearest command to one that it does not know."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; raises `UsageError` with a "did you mean"."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            known = self.list_commands(ctx)
            near = difflib.get_close_matches(args[0], known, 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known here: {', '.join(known)}."
            raise click.UsageError(f"No such command {args[0]!r}. {hint}", ctx) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; bad settings end it like any other bad input."""
        with _told():
            try:
                return super().invoke(ctx)
            except SettingsError as error:
                raise BadInputError(str(error)) from None

    def make_context(self, *given: Any, **named: Any) -> click.Context:
        """Read the arguments of the group itself."""
        with _told():
            return super().make_context(*given, **named)
        raise click.exceptions.Exit(0)  # whoever asked for help reads no further


@contextmanager
def _told() -> Iterator[None]:
    """What ends a command, in a sentence that is fit to be shown: it may quote what was typed."""
    try:
        with output.ends_cleanly():
            yield
    except click.ClickException as error:
        error.message = plain_lines(error.message)
        raise
    except OSError as error:
        if (sentence := output.no_room(error)) is None:
            raise
        raise CommandError(sentence, FOUND_PROBLEMS) from None


@click.group(cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="handoff-integrity", prog_name="handoff")
def main() -> None:
    """Keep handoffs between tools, teams and people whole."""
    log_plainly()


@main.group(cls=Commands, name="topics")
def topics_group() -> None:
    """See what the cluster lacks of the topics, and make it so."""


@main.group(cls=Commands, name="contracts")
def contracts_group() -> None:
    """Check, register and read handoff contracts."""


@main.group(cls=Commands, name="receivers")
def receivers_group() -> None:
    """Register and read receivers."""


@main.group(cls=Commands, name="sources")
def sources_group() -> None:
    """Try and register sources: how topics that exist already become tool outputs."""


@main.group(cls=Commands, name="dead-letters")
def dead_letters_group() -> None:
    """Read the inputs that could not be understood."""


@main.group(cls=Commands, name="held")
def held_group() -> None:
    """See what is held, and why."""


@main.group(cls=Commands, name="alerts")
def alerts_group() -> None:
    """Tell people what breaks: routes, silences, and what is firing."""


for command in (running.up, running.demo, running.run, send.send, dry_run.dry_run, tail.tail):
    main.add_command(command)
main.add_command(doctor.doctor)
main.add_command(show.show)
main.add_command(web.console)
for command in (edges.edges, discover.discover, audit.audit):
    main.add_command(command)
for command in (answering.ack, answering.amend, answering.release, answering.discard):
    main.add_command(command)
held_group.add_command(held.list_held)
held_group.add_command(held.show_held)
topics_group.add_command(topics.plan)
topics_group.add_command(topics.apply)
for command in (documents.lint, documents.apply_contracts, documents.list_contracts):
    contracts_group.add_command(command)
contracts_group.add_command(documents.show)
contracts_group.add_command(contracts_diff.diff)
contracts_group.add_command(contracts_replay.test)
receivers_group.add_command(documents.apply_receivers)
receivers_group.add_command(documents.list_receivers)
for command in (sources.lint, sources.test, sources.draft):
    sources_group.add_command(command)
for command in (
    source_registry.apply_sources,
    source_registry.list_sources,
    source_registry.replay,
    source_registry.remove,
):
    sources_group.add_command(command)
dead_letters_group.add_command(dead_letters.list_letters)
dead_letters_group.add_command(dead_letters.show)
for command in (alerts.run, alerts.list_alerts, alerts.lint, alerts.test):
    alerts_group.add_command(command)
for command in (silences.silence, silences.silences, alerts.ack, alerts.resolve_alert):
    alerts_group.add_command(command)
main.add_command(imports.import_)
