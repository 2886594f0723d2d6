"""Intake beside the pass-through: one template over incident webhooks of 1.5 KB."""

import random
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench.rates import MeasuredRun, follow
from bench.site import BenchError, Site
from console.commands.documents import load_documents
from console.commands.source_registry import register_sources
from processors.runtime.clients import group_id

SOURCE = Path(__file__).with_name("source.yaml")
_TOPIC = "incidents"
_WORDS = ("queue", "disk", "latency", "checkout", "payment", "retry", "node", "shard", "cache")


class RelayRates(msgspec.Struct):
    """The pass-through and intake over the same foreign records, of `bytes_a_record` each."""

    bytes_a_record: float
    bare: MeasuredRun
    intake: MeasuredRun

    @property
    def ratio(self) -> float:
        """Intake's share of the bare rate."""
        return self.intake.whole.a_second / self.bare.whole.a_second


def measure(servers: str, events: int, directory: Path, say: Callable[[str], None]) -> RelayRates:
    """Both over the same records, one after the other. Raises `BenchError` where not every record
    was mapped."""
    records = incidents(events)
    size = sum(len(value) for _, value in records) / events
    say(f"intake: {events:,} incidents of {size:,.0f} bytes")
    bare_site, site = Site(servers, "relaybare"), Site(servers, "relay")
    bare = _bare(bare_site, records, directory)
    topic = site.topic_of_others(_TOPIC)
    site.load(records, topic)
    path = directory / "source.yaml"
    path.write_text(SOURCE.read_text().replace("TOPIC", topic))
    register_sources(site.cluster(), load_documents([str(path)]), quiet=True)
    with site.processor(directory, ("intake",)) as process:
        run = follow(site, group_id(site.settings, "intake"), [process], events, topic)
        written = process.metrics("intake").get("handoff_output_records_total", 0)
    if written != events:
        raise BenchError(f"intake wrote {written:,.0f} records of {events:,}")
    found = RelayRates(size, bare, run)
    say(f"  pass-through {bare.whole}")
    say(f"  intake       {run.whole}; {found.ratio:.2f} of the pass-through")
    return found


def _bare(site: Site, records: list[tuple[bytes, bytes]], directory: Path) -> MeasuredRun:
    topic = site.topic_of_others(_TOPIC)
    site.load(records, topic)
    name = f"{site.settings.application_id}-copy"
    group = group_id(site.settings.model_copy(update={"application_id": name}), "passthrough")
    with site.pass_through(directory, name, len(records), topic) as process:
        return follow(site, group, [process], len(records), topic)


def incidents(events: int) -> list[tuple[bytes, bytes]]:
    """Webhooks of an incident tool: of each incident three, of about 1.5 KB."""
    pick = random.Random(7)
    return [_incident(pick, number) for number in range(events)]


def _incident(pick: random.Random, number: int) -> tuple[bytes, bytes]:
    incident = f"Q{number // 3:07}"
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
