"""The command `handoff` as tests call it, and what they find on the topics."""

from click.testing import CliRunner, Result

from console.kafka import connect, read_all
from console.main import main
from schemas.flow import Record


class HandoffCommand:
    """The command `handoff` against one broker and topic prefix."""

    def __init__(self, servers: str, prefix: str) -> None:
        self.environment = {
            "HANDOFF_KAFKA_BOOTSTRAP_SERVERS": servers,
            "HANDOFF_TOPIC_PREFIX": prefix,
            "HANDOFF_APPLICATION_ID": prefix.rstrip("."),
            "HANDOFF_BY": "Ana Silva",
        }

    def __call__(self, *arguments: str, lines: str | bytes | None = None) -> Result:
        return CliRunner(env=self.environment).invoke(main, arguments, input=lines)


def on_topic(topic: str) -> list[Record]:
    """All committed records of a topic on the broker that the environment names."""
    return list(read_all(connect(), [topic]))
