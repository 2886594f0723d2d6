"""What the tables answer about a workflow and its moves."""

from typing import Any

import pytest

from tests.core import tables


def _contract(id_: str, stage: Any, to_stage: str, **more: Any) -> dict[str, Any]:
    to = {"receiver": "marketing", "stage": to_stage}
    return {"id": id_, "from": {"team": "sales", "stage": stage}, "to": to} | more


def test_a_workflow_is_contracted_by_a_version_in_force() -> None:
    known = tables(
        {
            "contracts": [
                _contract("sales", "qualify", "nurture"),
                _contract("old", "a", "b", workflow="leaving", status="deprecated"),
                _contract("tried", "a", "b", workflow="trying", status="trial"),
                _contract("planned", "a", "b", workflow="planning", status="draft"),
            ]
        }
    )
    found = {w: known.contracted(w) for w in ("lead", "leaving", "trying", "planning", "other")}
    assert found == {
        "lead": True,
        "leaving": True,
        "trying": False,
        "planning": False,
        "other": False,
    }


@pytest.mark.parametrize(
    ("from_stage", "to_stage", "contract"),
    [
        ("qualify", "nurture", "closest"),
        ("score", "nurture", "listed"),
        ("anywhere", "nurture", "any"),
        ("qualify", "close", None),
    ],
)
def test_a_move_is_documented_by_the_closest_contract(
    from_stage: str, to_stage: str, contract: str | None
) -> None:
    known = tables(
        {
            "contracts": [
                _contract("any", "*", "nurture"),
                _contract("closest", "qualify", "nurture"),
                _contract("listed", ["qualify", "score"], "nurture"),
            ]
        }
    )
    found = known.documents("lead", from_stage, to_stage)
    assert (found and found.id) == contract
    assert known.documents("other", from_stage, to_stage) is None


@pytest.mark.parametrize(
    ("workflow", "stage", "contracts"),
    [
        ("lead", "qualify", ["any", "named"]),
        ("lead", "score", ["any", "listed"]),
        ("lead", "anywhere", ["any"]),
        ("plain", "qualify", []),
        ("other", "qualify", []),
        ("listing", "qualify", ["elsewhere"]),
        ("listing", "anywhere", []),
    ],
)
def test_contracts_that_begin_by_themselves_at_a_stage(
    workflow: str, stage: str, contracts: list[str]
) -> None:
    known = tables(
        {
            "contracts": [
                _contract("listed", ["rate", "score"], "nurture", when="context.n > 1"),
                _contract("named", "qualify", "nurture", when="context.n > 2"),
                _contract("any", "*", "nurture", when="context.n > 3"),
                _contract("declared", "qualify", "nurture"),
                _contract("plain", "qualify", "nurture", workflow="plain"),
                _contract(
                    "elsewhere", "qualify", "nurture", workflow="listing", when="context.n > 4"
                ),
            ]
        }
    )
    assert [contract.id for contract in known.whens(workflow, stage)] == contracts


@pytest.mark.parametrize(
    ("before", "stage", "contract"),
    [
        ("qualify", "nurture", "both"),
        ("score", "nurture", "listed"),
        ("anywhere", "nurture", "any"),
        ("qualify", "close", None),
        ("nurture", "qualify", None),
    ],
)
def test_a_move_falls_under_the_contract_that_names_its_stages_most_closely(
    before: str, stage: str, contract: str | None
) -> None:
    known = tables(
        {
            "contracts": [
                _contract("listed", ["score", "qualify"], "nurture"),
                _contract("both", "qualify", "nurture"),
                _contract("any", "*", "nurture"),
                _contract("by-itself", "qualify", "nurture", when="context.n > 1"),
                _contract("a-closer", "qualify", "close", when="context.n > 1"),
            ]
        }
    )
    found = known.between("lead", before, stage)
    assert (found and found.id) == contract
    assert known.between("other", before, stage) is None
