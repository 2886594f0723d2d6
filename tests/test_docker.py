"""The deployment of docker-compose.yml, with testcontainers: a story goes in, packages come out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaException

from console.brokers import free_port
from tests.conftest import cannot_run
from topics.admin import Admin
from topics.apply import read_cluster
from topics.catalogue import NAMES

if TYPE_CHECKING:
    from testcontainers.compose import DockerCompose

ROOT = Path(__file__).resolve().parents[1]
STORY = ROOT / "console" / "demo" / "sales"


def handoff(servers: str, *arguments: str) -> str:
    """Run the command line against a cluster, and give back what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "console", *arguments],
        cwd=ROOT,
        env={**os.environ, "HANDOFF_KAFKA_BOOTSTRAP_SERVERS": servers},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"handoff {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def register(servers: str) -> None:
    """The contract and the receiver of the sales story, and the receiver's queue."""
    handoff(servers, "receivers", "apply", f"{STORY}.yaml")
    handoff(servers, "topics", "apply")
    handoff(servers, "contracts", "apply", f"{STORY}.yaml")


def packages_of_the_story(servers: str) -> list[Any]:
    """Send the sales story, and the packages that come of its three handoffs."""
    handoff(servers, "send", f"{STORY}.jsonl")
    lines = handoff(
        servers,
        *("tail", "packages", "--from-beginning", "--output", "json"),
        *("--limit", "3", "--timeout", "60"),
    )
    return [json.loads(line)["value"] for line in lines.splitlines()]


def check(packages: list[Any]) -> None:
    by_task = {package["task_id"]: package for package in packages}
    assert sorted(by_task) == ["lead-2041", "lead-2042", "lead-2043"]
    lost = by_task["lead-2041"]
    assert lost["provenance"]["conversation_history"]["how"] == "rebuilt"
    assert lost["provenance"]["conversation_history"]["tool"] == "call-recorder"
    assert lost["context"]["intent"] == "high-intent"
    assert by_task["lead-2043"]["fidelity"] == 1.0


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 180.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.5)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def has_topics(servers: str) -> bool:
    try:
        found = read_cluster(Admin({"bootstrap.servers": servers}), sorted(NAMES))
    except KafkaException:
        return False
    return set(found.topics) == NAMES


def require_engine() -> None:
    if shutil.which("docker") is None:
        cannot_run("docker", "there is no docker on this machine")
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode:
            why = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1]
            cannot_run("docker", f"`{' '.join(command)}` fails: {why}")


def volumes_of(container: str) -> list[str]:
    """Where the container has volumes."""
    mounts = subprocess.check_output(
        ["docker", "inspect", "--format", "{{json .Mounts}}", container], timeout=30
    )
    return sorted(each["Destination"] for each in json.loads(mounts) if each["Type"] == "volume")


def healthy(everything: DockerCompose) -> bool:
    found = {each.Service: each.Health for each in everything.get_containers()}
    return found == {"kafka": "healthy", "processor": "healthy"}


@pytest.mark.docker
@pytest.mark.slow
def test_the_composed_deployment_publishes_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    require_engine()
    from testcontainers.compose import DockerCompose

    kafka, web = free_port(), free_port()
    # A project of its own, so that a deployment on this machine is neither used nor taken down.
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", f"handoff-test-{uuid.uuid4().hex[:8]}")
    monkeypatch.setenv("HANDOFF_KAFKA_PORT", str(kafka))
    monkeypatch.setenv("HANDOFF_WEB_PORT", str(web))
    servers = f"localhost:{kafka}"
    everything = DockerCompose(ROOT, build=True, wait=False)
    try:
        # The contracts first, so that the processor knows them when the story comes.
        DockerCompose(ROOT, build=True, wait=False, services=["topics"]).start()
        wait_until(lambda: has_topics(servers), "topics apply")
        register(servers)
        everything.start()
        wait_until(lambda: answers(f"http://127.0.0.1:{web}/readyz"), "readiness")
        assert answers(f"http://127.0.0.1:{web}/healthz")
        check(packages_of_the_story(servers))
        wait_until(lambda: healthy(everything), "health checks of kafka and processor", 60.0)
        published = [
            port for each in everything.get_containers() for port in each.Publishers if port.URL
        ]
        assert {port.PublishedPort for port in published} == {kafka, web}
        assert {port.URL for port in published} == {"127.0.0.1"}
        # Any other would be nameless, and stay behind at each `docker compose down`.
        kafka_id = everything.get_container("kafka").ID
        assert kafka_id is not None
        assert volumes_of(kafka_id) == ["/var/lib/kafka/data"]
        everything.stop(down=False)
        # 0: it committed and left the group. 137 would say that it had to be killed.
        assert everything.get_container("processor", include_all=True).ExitCode == 0
    except BaseException:
        for service in ("kafka", "topics", "processor"):
            print(everything.get_logs(service)[0][-4000:])
        raise
    finally:
        everything.stop()
