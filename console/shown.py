"""What the registered contracts say about showing values to people, from their topic's records."""

from collections.abc import Iterable

from pydantic import ValidationError

from console.render import Contracts
from processors.contracts.classified import Outline, outline
from schemas import documents
from schemas.documents import HandoffContract


def shown_of(values: Iterable[bytes]) -> Contracts:
    """What the records of `handoff.contracts` say about showing packages. What a contract that
    cannot be used classifies stays classified."""
    contracts: list[HandoffContract] = []
    unusable: list[Outline] = []
    for value in values:
        try:
            document = documents.from_json(value)
        except ValidationError:
            if (left := outline(value)) is not None:
                unusable.append(left)
            continue
        if isinstance(document, HandoffContract):
            contracts.append(document)
    return Contracts(contracts, unusable)
