"""`handoff console`: the console in a browser."""

from pathlib import Path

import click

from console import output
from processors.runtime.ending import Ending
from processors.runtime.settings import load_settings


@click.command("console", short_help="Serve the console, for a browser.")
@click.option("--host", help="Listen on this address; else HANDOFF_CONSOLE_HOST.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Listen on this port (0: a free one); else HANDOFF_CONSOLE_PORT.",
)
@click.option(
    "--state-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep its read model here, so that it need not be built anew at each start.",
)
def console(host: str | None, port: int | None, state_file: Path | None) -> None:
    """Serve the console for a browser until SIGTERM or Ctrl-C.

    It shows what is wrong now, why, and who is to act, and lets people mend held handoffs. Without
    an access file nobody signs in, and it listens on this machine only.
    """
    given = {"console_host": host, "console_port": port, "console_state_file": state_file}
    settings = load_settings(**{name: each for name, each in given.items() if each is not None})
    with Ending() as ending:
        # Its libraries take their time, and no other command needs them.
        from web.serving import address, listen, serving  # noqa: PLC0415

        listening = listen(settings.console_host, settings.console_port)
        shown = address(settings, listening)
        with serving(settings, listening):
            output.say(f"console  {shown}")
            output.say("Ctrl-C ends it.")
            ending.wait()
