"""The values of a package or an input as a page shows them: masked, unless their contract declares
the field public and they tell nothing that is classified. Pure.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import msgspec
from msgspec import Raw

from console.hops import OPTIONAL
from console.masking import Mask
from console.render import HOW_WORDS
from console.violation_ids import promises
from schemas.documents import ContractField
from schemas.printable import plain
from schemas.records import Package, Provenance
from schemas.unreadable import UNREADABLE
from web.cells import in_words
from web.context import Registered


@dataclass(frozen=True)
class FieldRow:
    """A field: its name as it may be shown, what became of it, and its value where that is public.

    `number` says which of the names it is, for those whose name may not be shown.
    """

    number: int
    name: str
    how: str
    value: str | None
    classified: bool
    origin: Provenance | None = None
    declared: bool = True


@dataclass(frozen=True)
class MissingField:
    """A field that is not there, and why."""

    name: str
    why: str


def declared_fields(package: Package, registered: Registered) -> Mapping[str, ContractField]:
    """The fields that the package's contract declares, by name; none where it is not at hand."""
    contract = registered.contracts.get(f"{package.contract}@{package.contract_version}")
    return {} if contract is None else {each.name: each for each in contract.fields}


def rows_of(
    package: Package, registered: Registered, beside: Collection[str] = ()
) -> list[FieldRow]:
    """The values of a package. `beside` are texts of classified values of its task that are known
    from elsewhere."""
    mask = registered.shown.mask(package, beside)
    hidden, names = mask.hidden(), mask.names()
    classified = registered.shown.classified(package.workflow)
    declared = declared_fields(package, registered)
    rows = []
    for number, (name, raw) in enumerate(package.context.items()):
        field = declared.get(name)
        public = field is not None and field.public and name not in hidden
        origin = package.provenance.get(name)
        rows.append(
            FieldRow(
                number=number,
                name=names[name],
                how=HOW_WORDS[origin.how] if origin else "origin unknown",
                value=readable(raw) if public else None,
                classified=classified.covers(name),
                origin=origin,
                declared=field is not None,
            )
        )
    return rows


def missing_of(package: Package) -> list[MissingField]:
    """The declared fields that a package lacks. Only optional ones are missing without a
    violation."""
    kinds = {about: kind for kind, about in promises(package.violations)}
    return [
        MissingField(name, in_words(kinds[name]) if name in kinds else OPTIONAL)
        for name in package.missing
    ]


def input_rows(
    context: Mapping[str, Raw], workflow: str, registered: Registered, beside: Collection[str]
) -> list[FieldRow]:
    """The values that a tool or a person sent. None is shown: contracts declare what receivers get,
    under the receiver's names."""
    classified = registered.shown.classified(workflow)
    mask = Mask(classified, [context], texts=beside)
    names = mask.names({name: name for name in context})
    return [
        FieldRow(number, shown, "", None, classified.covers(name))
        for number, (shown, name) in enumerate(names.items())
    ]


def readable(raw: Raw) -> str:
    """A value as text: a string bare, anything else as JSON on lines of its own."""
    try:
        found = msgspec.json.decode(bytes(raw))
        if isinstance(found, str):
            return found
        return msgspec.json.format(bytes(raw), indent=2).decode()
    except UNREADABLE:
        return plain(bytes(raw).decode("utf-8", "replace"))
