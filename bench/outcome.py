"""What was published about each handoff: what is fast and wrong is not measured."""

from typing import Any, NamedTuple

import msgspec

from bench.site import BenchError, Site
from bench.workload import Place, Workload
from console.kafka import read_all

PACKAGES, VIOLATIONS = "handoff.packages", "handoff.violations"


class Handoff(NamedTuple):
    """The fields that were rebuilt, with their values; and those that a violation names as lost,
    with the id of the output that had them."""

    rebuilt: dict[str, Any]
    lost: dict[str, str]


class _Provenance(msgspec.Struct):
    how: str


class _PackageFields(msgspec.Struct):
    task_id: str
    event_id: str
    context: dict[str, msgspec.Raw]
    provenance: dict[str, _Provenance]


class _Origin(msgspec.Struct):
    event_id: str


class _ViolationField(msgspec.Struct):
    task_id: str
    event_id: str
    kind: str
    field: str
    origin: _Origin | None
    status: str = "opened"  # Kafka Streams' job resolves none


_package = msgspec.json.Decoder(_PackageFields).decode
_violation = msgspec.json.Decoder(_ViolationField).decode


def published(
    site: Site, packages: str = PACKAGES, violations: str = VIOLATIONS
) -> dict[Place, Handoff]:
    """What the two topics say about each handoff.

    Raises `BenchError` for a second package, and for a violation that is none of a dropped field,
    has no package, or comes twice.
    """
    found: dict[Place, Handoff] = {}
    for record in read_all(site.cluster(), [packages], "packages"):
        package = _package(record.value or b"")
        place = package.task_id, package.event_id
        if place in found:
            raise BenchError(f"{place} was handed off twice")
        rebuilt = {
            name: msgspec.json.decode(package.context[name])
            for name, origin in package.provenance.items()
            if origin.how == "rebuilt"
        }
        found[place] = Handoff(rebuilt, {})
    for record in read_all(site.cluster(), [violations], "violations"):
        violation = _violation(record.value or b"")
        if violation.status != "opened":
            continue
        place = violation.task_id, violation.event_id
        if violation.kind != "context_dropped" or place not in found or violation.origin is None:
            raise BenchError(
                f"{violation.kind} of {violation.field} in {place}: nobody provoked it"
            )
        lost = found[place].lost
        if violation.field in lost:
            raise BenchError(f"{violation.field} of {place} was said to be lost twice")
        lost[violation.field] = violation.origin.event_id
    return found


def check(found: dict[Place, Handoff], workload: Workload) -> None:
    """Exactly the handoffs, lost fields and rebuilt values that the generator has provoked. Raises
    `BenchError`."""
    if found.keys() != workload.lost.keys():
        raise BenchError(f"{len(found):,} packages came, {workload.handoffs:,} were to come")
    for place, dropped in workload.lost.items():
        handoff = found[place]
        if handoff.lost.keys() != dropped.keys() or handoff.rebuilt != dropped:
            raise BenchError(
                f"{place} dropped {sorted(dropped)}, its violations name {sorted(handoff.lost)}, "
                f"and {sorted(handoff.rebuilt)} were rebuilt"
                + ("" if handoff.rebuilt.keys() != dropped.keys() else " (look at the values)")
            )
