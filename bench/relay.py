"""Intake beside the pass-through, one template over incident webhooks of 1.5 KB; and integrity over
what intake makes of them, alone and with intake beside it."""

import random
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench.rates import MeasuredRun, follow
from bench.site import BenchError, Process, Site, wait_for
from console.commands.documents import load_documents
from console.commands.source_registry import register_sources
from processors.intake.compiled import compile_source
from processors.intake.mapping import map_record
from processors.runtime.clients import group_id
from schemas.flow import Record

SOURCE = Path(__file__).with_name("source.yaml")
_TOPIC = "incidents"
_TURNS = 3
_RECORDS_A_TASK = 3
_WORDS = ("queue", "disk", "latency", "checkout", "payment", "retry", "node", "shard", "cache")


class RelayRates(msgspec.Struct):
    """The pass-through and intake, in turns, over the same foreign records, of `bytes_a_record`
    each. Over the tool outputs that become of these: integrity `alone`, where they lie on its topic
    already, and `behind` an intake that writes them at the same time, in a process of its own."""

    bytes_a_record: float
    bare: list[MeasuredRun]
    intake: list[MeasuredRun]
    alone: MeasuredRun
    behind: MeasuredRun

    @property
    def ratios(self) -> list[float]:
        """Intake's share of the bare rate in each turn."""
        return [
            intake.whole.a_second / bare.whole.a_second
            for bare, intake in zip(self.bare, self.intake, strict=True)
        ]

    @property
    def cpu_ratios(self) -> list[float]:
        """The same a CPU second; none where that is unknown."""
        shares = map(_share, self.intake, self.bare)
        return [share for share in shares if share is not None]

    @property
    def behind_ratio(self) -> float | None:
        """What is left of integrity's rate a CPU second while intake feeds it."""
        return _share(self.behind, self.alone)


def _share(run: MeasuredRun, other: MeasuredRun) -> float | None:
    ours, theirs = run.whole.a_cpu_second, other.whole.a_cpu_second
    return ours / theirs if ours and theirs else None


def measure(servers: str, events: int, directory: Path, say: Callable[[str], None]) -> RelayRates:
    """All of it over the same records, one after the other. Raises `BenchError` where not every
    record was mapped, or not every task is known to integrity."""
    records = incidents(events)
    size = sum(len(value) for _, value in records) / events
    say(f"intake: {events:,} incidents of {size:,.0f} bytes")
    bare, intake = [], []
    for turn in range(_TURNS):
        bare.append(_bare(Site(servers, f"relaybare{turn}"), records, directory))
        say(f"  pass-through {bare[-1].whole}")
        intake.append(_intake(Site(servers, f"relay{turn}"), records, directory))
        say(f"  intake       {intake[-1].whole}")
    alone = _alone(Site(servers, "relayalone"), records, directory)
    say(f"  integrity    {alone.whole}")
    behind = _behind(Site(servers, "relaybehind"), records, directory)
    say(f"    behind it  {behind.whole}")
    return RelayRates(size, bare, intake, alone, behind)


def _foreign(site: Site, records: list[tuple[bytes, bytes]], directory: Path) -> str:
    """The records on a topic of others, and its source; the topic's name."""
    topic = site.topic_of_others(_TOPIC)
    site.load(records, topic)
    path = directory / "source.yaml"
    path.write_text(SOURCE.read_text().replace("TOPIC", topic))
    register_sources(site.cluster(), load_documents([str(path)]), quiet=True)
    return topic


def _bare(site: Site, records: list[tuple[bytes, bytes]], directory: Path) -> MeasuredRun:
    topic = site.topic_of_others(_TOPIC)
    site.load(records, topic)
    name = f"{site.settings.application_id}-copy"
    group = group_id(site.settings.model_copy(update={"application_id": name}), "passthrough")
    with site.pass_through(directory, name, len(records), topic) as process:
        return follow(site, group, [process], len(records), topic)


def _intake(site: Site, records: list[tuple[bytes, bytes]], directory: Path) -> MeasuredRun:
    topic = _foreign(site, records, directory)
    with site.processor(directory, ("intake",)) as process:
        run = follow(site, group_id(site.settings, "intake"), [process], len(records), topic)
        written = process.metrics("intake").get("handoff_output_records_total", 0)
    if written != len(records):
        raise BenchError(f"intake wrote {written:,.0f} records of {len(records):,}")
    return run


def _alone(site: Site, records: list[tuple[bytes, bytes]], directory: Path) -> MeasuredRun:
    """Integrity over the tool outputs as a tool sends them."""
    site.load(outputs(records))
    with site.processor(directory) as process:
        run = follow(site, site.group(), [process], len(records))
        _knows_all(process, len(records))
    return run


def _behind(site: Site, records: list[tuple[bytes, bytes]], directory: Path) -> MeasuredRun:
    """Integrity over the same, while intake makes them; the CPU is that of integrity's process."""
    _foreign(site, records, directory)
    with site.processor(directory) as process:
        site.until_shared(site.group(), [process])
        with site.processor(directory, ("intake",), ordinal=1):
            run = follow(site, site.group(), [process], len(records), in_transactions=True)
            _knows_all(process, len(records))
    return run


def _knows_all(process: Process, records: int) -> None:
    tasks = -(-records // _RECORDS_A_TASK)
    wait_for(
        f"integrity's states of {tasks:,} tasks",
        process,
        lambda: process.has_states(tasks),
    )


def outputs(records: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The tool outputs, key and value, that the source makes of incidents. Raises `BenchError`
    where it makes another number of them."""
    (source,) = load_documents([str(SOURCE)]).intake_sources
    compiled = compile_source(source)
    found = []
    for number, (key, value) in enumerate(records):
        mapped = map_record(compiled, Record("TOPIC", 0, number, key, value, timestamp=0), 0)
        found += [(each.key or b"", each.value or b"") for each in mapped.records]
    if len(found) != len(records):
        raise BenchError(f"the source makes {len(found):,} outputs of {len(records):,} records")
    return found


def incidents(events: int) -> list[tuple[bytes, bytes]]:
    """Webhooks of an incident tool: of each incident three, of about 1.5 KB."""
    pick = random.Random(7)
    return [_incident(pick, number) for number in range(events)]


def _incident(pick: random.Random, number: int) -> tuple[bytes, bytes]:
    incident = f"Q{number // _RECORDS_A_TASK:07}"
    person = {
        "id": f"PU{pick.randrange(10**6):06}",
        "type": "user_reference",
        "summary": "Robin Example",
        "html_url": "https://incidents.example.com/users/PU000000",
        "self": "https://api.incidents.example.com/users/PU000000",
    }
    event = {
        "event": {
            "id": f"01CH{number:07}SM17TWPE2V2HR",
            "event_type": ("incident.triggered", "incident.annotated", "incident.reassigned")[
                number % 3
            ],
            "resource_type": "incident",
            "occurred_at": f"2026-03-02T09:{number % 60:02}:00.000Z",
            "agent": person,
            "client": {"name": "Monitoring", "url": "https://monitoring.example.com"},
            "data": {
                "id": incident,
                "type": "incident",
                "self": f"https://api.incidents.example.com/incidents/{incident}",
                "html_url": f"https://incidents.example.com/incidents/{incident}",
                "number": number,
                "status": "triggered",
                "incident_key": f"{pick.randrange(16**32):032x}",
                "created_at": "2026-03-02T09:00:00Z",
                "title": " ".join(pick.choices(_WORDS, k=12)),
                "service": {"id": "PS00001", "type": "service_reference", "summary": "Checkout"},
                "assignees": [person],
                "escalation_policy": {"id": "PY00001", "summary": "First line"},
                "teams": [{"id": "PT00001", "type": "team_reference", "summary": "Web"}],
                "priority": {"id": "PP00001", "type": "priority_reference", "summary": "P1"},
                "urgency": "high",
                "conference_bridge": None,
                "notes": " ".join(pick.choices(_WORDS, k=30)),
                "resolve_reason": None,
            },
        }
    }
    return incident.encode(), msgspec.json.encode(event)
