"""The shape of the repository: imports point one way, and what is shipped is pinned."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from ruamel.yaml import YAML

from console.commands.running import NAMES
from console.main import main
from processors.runtime.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
# Each part, and what it may import besides itself.
ALLOWED: dict[str, set[str]] = {
    "schemas": set(),
    "topics": {"schemas"},
    "processors.contracts": {"schemas"},
    "processors.partitioning": set(),
    "processors.processor": {"schemas"},
    "processors.ordering": {"schemas"},
    "processors.wakes": set(),
    "processors.journal": {"schemas", "processors.processor"},
    "processors.driver": {
        "schemas",
        "processors.journal",
        "processors.processor",
        "processors.partitioning",
        "processors.wakes",
    },
    "processors.timeline": {"schemas", "processors.processor", "processors.driver"},
    "processors.integrity": {"schemas", "processors.contracts", "processors.processor"},
    "processors.insights": {"schemas", "processors.contracts", "processors.processor"},
    "processors.intake": {"schemas", "processors.processor"},
    "processors.runtime": {
        "schemas",
        "topics",
        "processors.contracts",
        "processors.driver",
        "processors.journal",
        "processors.ordering",
        "processors.processor",
        "processors.partitioning",
    },
    # Who is told of what keeps breaking: the decisions are pure, the sinks are not.
    "processors.alerts": {"schemas"},
    "alerts": {"schemas", "topics", "processors"},
    "console": {"schemas", "topics", "processors", "console.commands"},
    "web": {"schemas", "topics", "processors", "alerts", "console"},
    "console.commands": {"schemas", "topics", "processors", "alerts", "console", "web"},
    "console.demo": {"schemas", "topics", "processors", "console", "console.commands"},
    "console.main": {"processors", "schemas", "console", "console.commands"},
    "console.__main__": {"processors", "console.main"},
}
# Names of classes that two packages still share; no new one may be added.
SHARED = {"Destination", "Limits", "Repeat", "Rule"}
PARTS = sorted(ALLOWED, key=len, reverse=True)
# Judgement is pure: none of it can reach a broker.
WITHOUT_KAFKA = (
    "schemas",
    "topics.catalogue",
    "topics.plan",
    "topics.rights",
    "processors.contracts",
    "processors.partitioning",
    "processors.processor",
    "processors.ordering",
    "processors.wakes",
    "processors.journal",
    "processors.driver",
    "processors.timeline",
    "processors.integrity",
    "processors.insights",
    "processors.intake",
    "processors.alerts",
)


def within(module: str, part: str) -> bool:
    return module == part or module.startswith(part + ".")


def part_of(module: str) -> str | None:
    return next((part for part in PARTS if within(module, part)), None)


def modules() -> Iterator[tuple[str, Path]]:
    for top in ("schemas", "topics", "processors", "alerts", "web", "console"):
        for path in sorted((ROOT / top).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_imports_point_one_way() -> None:
    wrong = []
    for module, path in modules():
        part = part_of(module)
        if part is None:
            assert path.name == "__init__.py", f"{module}: which part of the design is this?"
            continue
        for imported in imports(path):
            target = part_of(imported)
            if target is None or target == part:
                continue
            if not any(within(target, allowed) for allowed in ALLOWED[part]):
                wrong.append(f"{module} imports {imported}")
    assert wrong == []


def test_judgement_cannot_reach_a_broker() -> None:
    wrong = [
        f"{module} imports {imported}"
        for module, path in modules()
        if any(within(module, part) for part in WITHOUT_KAFKA)
        for imported in imports(path)
        if imported.split(".")[0] in {"confluent_kafka", "faust", "mode"}
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("kind", "least"), [("", 20), ("-dev", 20), ("-build", 1), ("-frameworks", 20)]
)
def test_the_lock_pins_every_release_and_names_no_host(kind: str, least: int) -> None:
    text = (ROOT / f"requirements{kind}.txt").read_text()
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links|--trusted-host", text)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line[:1] not in {"#", ""}]
    assert len(lines) >= least
    for line in lines:
        assert re.match(r"[a-z0-9-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line


def test_images_are_pinned() -> None:
    compose = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text())
    images = [service["image"] for service in compose["services"].values()]
    images += re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for image in images:
        assert re.search(r":\d+\.\d+\.\d+(-[a-z-]+)?$", image), image


def test_published_ports_are_on_this_machine_only() -> None:
    compose = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text())
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports), ports


def test_every_processor_runs_in_the_composed_deployment() -> None:
    """The arguments of its services are those of the command line, and its environment is known."""
    compose = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text())
    ran: set[str] = set()
    for name in ("topics", "processor", "console"):
        service = compose["services"][name]
        group: click.Command = main
        arguments: list[str] = service["command"]
        while isinstance(group, click.Group):
            group, arguments = group.commands[arguments[0]], arguments[1:]
        context = group.make_context(group.name, list(arguments))
        if group.name == "run":
            ran |= set(context.params["names"] or NAMES)
        for variable in service["environment"]:
            assert variable.removeprefix("HANDOFF_").lower() in Settings.model_fields, variable
    assert ran == {"integrity", "insights", "intake", "traces"}


def test_both_tiers_run_the_same_kafka() -> None:
    pom = (ROOT / "tests/kafka/pom.xml").read_text()
    found = re.search(r"<kafka.version>(.*)</kafka.version>", pom)
    assert found
    assert f"apache/kafka:{found[1]}\n" in (ROOT / "docker-compose.yml").read_text()
    assert found[0] in (ROOT / "bench/streams/pom.xml").read_text()


def test_no_two_classes_share_a_name() -> None:
    """Whoever reads a class's name knows which one it is, in the tests too."""
    places: dict[str, list[str]] = {}
    for top in ("schemas", "topics", "processors", "console", "bench", "tests"):
        for path in sorted((ROOT / top).rglob("*.py")):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef):
                    places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    shared = {name: paths for name, paths in places.items() if len(paths) > 1}
    assert shared.keys() <= SHARED, shared


# What takes any number of values: the cells of a row, the names to look at.
MANY = {"row", "add_row", "check"}


def test_no_call_has_more_than_five_positional_arguments() -> None:
    """Whoever reads a call of more knows which value is which. Unpacked rows are left out."""
    found: list[str] = []
    for top in ("schemas", "topics", "processors", "alerts", "web", "console"):
        for path in sorted((ROOT / top).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and _positional(node) > 5:
                    name = ast.unparse(node.func).rpartition(".")[2]
                    if name not in MANY:
                        found.append(f"{path.relative_to(ROOT)}:{node.lineno} {name}")
    assert not found, found


def _positional(call: ast.Call) -> int:
    unpacked = any(isinstance(each, ast.Starred) for each in call.args)
    return 0 if unpacked else len(call.args)
