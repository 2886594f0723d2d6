"""`handoff run`, `up` and `demo`: the processors, alone or with all that they need."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

import click

from console import output
from console.brokers import BrokerError, EmbeddedBroker, free_port
from console.commands.alerts import routes_of, service_of
from console.commands.documents import load_documents, register_contracts, register_receivers
from console.commands.source_registry import register_sources
from console.commands.topics import make_topics
from console.demo.play import play
from console.errors import FOUND_PROBLEMS, CommandError, DeclinedError
from console.folder import temporary
from console.kafka import connect
from console.limits import insights_limits, limits
from processors.insights.processor import INSIGHTS, insights
from processors.intake.processor import intake
from processors.intake.traces import TraceLimits
from processors.intake.traces_processor import traces_processor
from processors.intake.transcripts.building import Defaults
from processors.integrity.processor import INTEGRITY, integrity
from processors.processor import AnyProcessor
from processors.runtime.app import EXIT_OK, check_web_port
from processors.runtime.app import run as run_app
from processors.runtime.ending import Ended, Ending
from processors.runtime.instances import run_instances
from processors.runtime.settings import Settings, SettingsError, load_settings
from processors.runtime.transactions import Misconfigured
from topics.catalogue import TopicError

INTAKE = "intake"
TRACES = "traces"
_ALERTS_STOP_SECONDS = 12.0
NAMES = (INTEGRITY.name, INSIGHTS.name, INTAKE, TRACES)


def processors(settings: Settings, names: Sequence[str] = NAMES) -> list[AnyProcessor]:
    """The processors of these names, as the settings want them."""
    made: dict[str, Callable[[], AnyProcessor]] = {
        INTEGRITY.name: lambda: integrity(limits(settings)),
        INSIGHTS.name: lambda: insights(insights_limits(settings)),
        TRACES: lambda: traces_processor(TraceLimits(), Defaults()),
        INTAKE: lambda: intake(settings.max_record_bytes, settings.backfill_after_ms),
    }
    return [made[name]() for name in names]


@click.command()
@click.option(
    "--processor",
    "names",
    type=click.Choice(list(NAMES)),
    multiple=True,
    help="Run only this one. May be given again.",
)
@click.option(
    "--instances",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="So many processes share the work on this machine.",
)
@click.option(
    "--rebuild",
    is_flag=True,
    help="Where a changelog holds less than the offsets say, read the inputs anew.",
)
def run(names: tuple[str, ...], instances: int, rebuild: bool) -> None:
    """Run the processors until SIGTERM or Ctrl-C."""
    settings = load_settings(**({"rebuild": True} if rebuild else {}))
    chosen = processors(settings, names or NAMES)
    with Ending() as ending:
        if instances == 1:
            status = run_app(settings, chosen, ending)
        else:
            status = run_instances(settings, chosen, ending, instances)
    sys.exit(status)


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the broker; else a free one.")
@click.option(
    "--contracts",
    "paths",
    metavar="PATH",
    multiple=True,
    help="Contracts, receivers and sources: a YAML file or a directory. May be given again.",
)
def up(port: int | None, paths: tuple[str, ...]) -> None:
    """Start a broker, the topics, the processors and the console for a browser.

    Ctrl-C ends them all. Web pages are on port 6066; a second one beside it needs another, and
    HANDOFF_WEB_PORT=0 takes any. The embedded broker keeps its log in memory: it is for trying
    things out, and what it held is gone when it ends.
    """
    status = EXIT_OK
    with Ending() as ending, suppress(Ended):
        status = _up(port, paths, ending)
    sys.exit(status)


def _up(port: int | None, paths: tuple[str, ...], ending: Ending) -> int:
    """Start it all, and run until `ending` is asked; the exit status. Raises `Ended` where that
    comes before all of it runs."""
    found = load_documents(paths) if paths else None
    try:
        check_web_port(load_settings())
    except Misconfigured as error:
        raise CommandError(str(error), FOUND_PROBLEMS) from None
    with temporary("handoff-up") as directory:
        try:
            with EmbeddedBroker(directory, port, ending.check) as broker:
                settings = load_settings(kafka_bootstrap_servers=broker.bootstrap_servers)
                if not settings.web_port:  # chosen here, so that it can be printed
                    settings = settings.model_copy(update={"web_port": free_port()})
                make_topics(connect(settings))
                ending.check()
                if found is not None:
                    register_receivers(connect(settings), found)
                    make_topics(connect(settings))  # the receivers' queues
                    register_contracts(connect(settings), found)
                    if found.intake_sources:
                        register_sources(connect(settings), found)
                    ending.check()
                with _console(settings) as shown:
                    output.say(f"broker     {broker.bootstrap_servers}")
                    output.say(f"console    {shown}")
                    output.say(f"web pages  http://{settings.web_host}:{settings.web_port}/healthz")
                    output.say("for other terminals:")
                    servers = broker.bootstrap_servers
                    output.say(f"  export HANDOFF_KAFKA_BOOTSTRAP_SERVERS={servers}")
                    output.say("Ctrl-C ends it all.")
                    settings = settings.model_copy(update={"console_url": shown})
                    return _run_with_alerts(settings, ending)
        except BrokerError as error:
            raise CommandError(str(error), FOUND_PROBLEMS) from None
        except TopicError as error:
            raise DeclinedError(str(error)) from None


def _run_with_alerts(settings: Settings, ending: Ending) -> int:
    """Run the processors, and beside them the alerts where there are routes."""
    if settings.alert_routes is None:
        output.say("alerts     nobody is told; name a file of routes: HANDOFF_ALERT_ROUTES")
        return run_app(settings, processors(settings), ending)
    service = service_of(settings, routes_of(settings.alert_routes))
    service.start()
    try:
        return run_app(settings, processors(settings), ending, [service.status])
    finally:
        service.stop(_ALERTS_STOP_SECONDS)


@click.command()
@click.option(
    "--keep",
    is_flag=True,
    help="Then leave the broker and the processor running, with the console for a browser.",
)
def demo(keep: bool) -> None:
    """Play three stories of broken handoffs, and end.

    On an embedded broker, with the real processor; nothing else is needed, and nothing is left.
    """
    with Ending() as ending:
        try:
            play(ending, partial(_look, ending) if keep else None)
        except BrokerError as error:
            raise CommandError(str(error), FOUND_PROBLEMS) from None
        except TopicError as error:
            raise DeclinedError(str(error)) from None


def _look(ending: Ending, settings: Settings) -> None:
    """Serve the console of the demo's broker until `ending` is asked."""
    with _console(settings) as shown:
        output.say(f"console    {shown}")
        output.say(f"broker     {settings.kafka_bootstrap_servers}")
        output.say("for other terminals:")
        servers = settings.kafka_bootstrap_servers
        output.say(f"  export HANDOFF_KAFKA_BOOTSTRAP_SERVERS={servers}")
        output.say("Ctrl-C ends it all.")
        ending.wait()


@contextmanager
def _console(settings: Settings) -> Iterator[str]:
    """The console beside the processors, on the port of the settings, or where that is taken on a
    free one. Gives its address."""
    # Its libraries take their time, and few commands need them.
    from web.serving import address, listen, serving  # noqa: PLC0415

    try:
        listening = listen(settings.console_host, settings.console_port)
    except SettingsError:
        listening = listen(settings.console_host, 0)
    shown = address(settings, listening)
    with serving(settings, listening):
        yield shown
