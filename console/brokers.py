"""Two brokers that need no Docker, each a context manager that leaves no process behind.

`EmbeddedBroker` is noida-db: ready within a second, its log in memory; for `up`, `demo` and
functional tests. `ApacheKafka` is one KRaft node (controller and broker in one process) from the
jars that `make kafka` fetches; for exactly-once, compaction, restarts and speed.

Both listen on 127.0.0.1 only, and can be killed and started again on the same port and data.
"""

from __future__ import annotations

import base64
import os
import random
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

HOST = "127.0.0.1"
_RELAY = str(Path(__file__).with_name("fetch_relay.py"))
KAFKA_LIB = Path(__file__).resolve().parents[1] / ".kafka" / "lib"

# Started in front of a broker on Linux: asks the kernel to kill the process when its parent ends,
# however that ends (PR_SET_PDEATHSIG = 1, prctl(2); it survives exec), and then becomes the broker.
# A program of its own and no preexec_fn: code between fork and exec may deadlock among threads.
_DIES_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""


class BrokerError(Exception):
    """A broker that could not be started; the text says why and what to do next."""


class _Broker:
    """A broker process on `port` with its data and its log in `directory`.

    Start it from a thread that lives as long as the broker: on Linux the kernel ends the broker
    when that thread ends. `meanwhile` is called again and again until it answers; what that raises
    ends the start.
    """

    name: str
    start_timeout: float  # seconds until it must answer

    def __init__(
        self,
        directory: str | os.PathLike[str],
        port: int | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        self.directory = Path(directory).resolve()
        self.port = port or free_port()
        self._meanwhile = meanwhile
        self.log = self.directory / "broker.log"
        self._running: list[subprocess.Popen[bytes]] = []

    @property
    def bootstrap_servers(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id, or None when it was not started or has been stopped."""
        return self._running[0].pid if self._running else None

    def start(self) -> None:
        """Start and wait until it answers. Raises BrokerError with the log's tail."""
        if self._running:
            raise BrokerError(f"{self.name} already runs on {self.bootstrap_servers}.")
        if _listens(self.port):
            raise BrokerError(
                f"{self.name} cannot start: port {self.port} is taken already; choose another."
            )
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            for command in self._commands():
                with self.log.open("ab") as log:
                    # A session of its own, so that Ctrl-C reaches us first and we end in good
                    # order.
                    process = subprocess.Popen(
                        dying_with_us(command),
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                self._running.append(process)
            self._wait_until_ready()
        except BaseException:
            self.stop(kill=True)
            raise

    def stop(self, kill: bool = False) -> None:
        """End the processes with SIGTERM, or SIGKILL; returns when they are gone."""
        ending, self._running = self._running, []
        for process in ending:
            if kill:
                process.kill()
            else:
                process.terminate()
        for process in ending:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def restart(self, kill: bool = False) -> None:
        """Stop (`kill` as in `stop`) and start on the same port and data."""
        self.stop(kill=kill)
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _commands(self) -> list[list[str]]:
        """What is started: the broker first."""
        raise NotImplementedError

    def _wait_until_ready(self) -> None:
        limit = time.monotonic() + self.start_timeout
        while time.monotonic() < limit:
            self._meanwhile()
            if (status := self._running[0].poll()) is not None:
                raise BrokerError(
                    f"{self.name} ended at once with status {status}. Its log ({self.log}) ends:\n"
                    + self._log_tail()
                )
            if _listens(self.port) and self._answers():
                return
            time.sleep(0.02)
        raise BrokerError(
            f"{self.name} did not answer on {self.bootstrap_servers} within "
            f"{self.start_timeout:.0f} s. Its log ({self.log}) ends:\n" + self._log_tail()
        )

    def _answers(self) -> bool:
        try:
            admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
            return bool(admin.list_topics(timeout=2).brokers)
        except KafkaException:
            return False

    def _log_tail(self) -> str:
        text = self.log.read_text(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in text[-20:])


class EmbeddedBroker(_Broker):
    """noida-db's Kafka service, without compaction, its log in memory while it runs; before it a
    relay that lets who waits for records wait (`fetch_relay`)."""

    name = "The embedded broker"
    start_timeout = 15.0

    def _commands(self) -> list[list[str]]:
        # The binary itself and not its Python entry point, which leaves it running when ended.
        program = "noida-db.exe" if os.name == "nt" else "noida-db"
        with as_file(files("noida_db") / program) as binary:
            if not binary.is_file():
                raise BrokerError(
                    f"The embedded broker's program is missing ({binary}): install again with "
                    "`make clean install`, or use a broker of your own with "
                    "HANDOFF_KAFKA_BOOTSTRAP_SERVERS."
                )
            if not os.access(binary, os.X_OK):
                binary.chmod(0o755)  # wheels do not always keep the bit
            port = str(free_port())  # its own, which only the relay knows
            only = ["start", "--only", "kafka", "--kafka-port", port]
            broker = [str(binary), *only, "--host", HOST, "--data-dir", str(self.directory)]
        relay = [sys.executable, "-P", _RELAY, str(self.port), port]
        return [broker, relay]


class ApacheKafka(_Broker):
    """One Apache Kafka node. Raises BrokerError when its jars or Java are missing.

    Topics are never made by accident (`auto.create.topics.enable=false`).
    """

    name = "Apache Kafka"
    start_timeout = 60.0

    def __init__(self, directory: str | os.PathLike[str], port: int | None = None) -> None:
        super().__init__(directory, port)
        self._controller_port = free_port()

    def _commands(self) -> list[list[str]]:
        if not KAFKA_LIB.is_dir():
            raise BrokerError("Apache Kafka's jars are missing: run `make kafka` first.")
        properties = self.directory / "server.properties"
        properties.write_text(self._properties())
        logging = self.directory / "log4j2.yaml"
        logging.write_text(_LOG4J)
        java = ["java", f"-Dlog4j2.configurationFile={logging}", "-cp", f"{KAFKA_LIB}/*"]
        if not (self.directory / "data" / "meta.properties").exists():
            self._format(java, properties)
        return [[*java, "-Xmx1g", "-XX:+UseG1GC", "kafka.Kafka", str(properties)]]

    def _format(self, java: Sequence[str], properties: Path) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # With "=": an id may begin with a dash, and would be taken for an option.
        tool = ["kafka.tools.StorageTool", "format", "--standalone", f"--cluster-id={cluster}"]
        try:
            done = subprocess.run(
                [*java, *tool, "-c", str(properties)], capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            raise BrokerError("Apache Kafka needs Java 17 or later; there is no `java`.") from None
        if done.returncode:
            raise BrokerError(f"Apache Kafka could not format its data: {done.stderr.strip()}")

    def _properties(self) -> str:
        controller = f"{HOST}:{self._controller_port}"
        lines = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": controller,
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{self.bootstrap_servers},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap_servers}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(self.directory / "data"),
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": "0",
            # A killed broker is let back in when its old session has ended: 9 s by default.
            "broker.heartbeat.interval.ms": "1000",
            "broker.session.timeout.ms": "4000",
            # There is one broker to keep Kafka's own topics; a few partitions are made at once.
            "offsets.topic.num.partitions": "5",
            "transaction.state.log.num.partitions": "5",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
        }
        return "".join(f"{key}={value}\n" for key, value in lines.items())


_LOG4J = """\
Configuration:
  status: WARN
  Appenders:
    Console: {name: out, target: SYSTEM_OUT, PatternLayout: {pattern: "%d %p %c %m%n"}}
  Loggers:
    Root: {level: WARN, AppenderRef: {ref: out}}
"""


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on, below the range of outgoing connections.

    A port of that range could be taken by any client while the broker is down between two starts,
    even by a client that tries to reach it (TCP connects to itself).
    """
    for _ in range(200):
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise BrokerError(f"No free port between 15000 and 32000 on {HOST}.")


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def dying_with_us(command: Sequence[str]) -> list[str]:
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-ISc", _DIES_WITH_PARENT, str(os.getpid()), *command]
