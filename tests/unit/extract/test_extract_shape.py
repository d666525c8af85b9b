"""Shapes of rows: what is unknown is kept apart, what has changed is refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from convergence.errors import ProviderProtocolError
from convergence.extract.shape import Kind, Shape

FIELDS = {
    "n": Kind.COUNT,
    "model": Kind.TEXT,
    "amount": Kind.AMOUNT,
    "batch": Kind.FLAG,
    "group": Kind.OBJECT,
    "keys": Kind.LIST,
}


def test_a_row_is_split_into_known_and_unknown_fields() -> None:
    shape = Shape(FIELDS, required=frozenset({"n"}))
    row = {"n": 3, "amount": "6.2250", "new": {"a": 1}, "model": None}
    known, unknown = shape.split(row)
    assert known == {
        "n": 3,
        "model": None,
        "amount": Decimal("6.2250"),
        "batch": None,
        "group": None,
        "keys": None,
    }
    assert unknown == {"new": {"a": 1}}
    shape.split(row)
    assert shape.unknown == {"new": 2}


@pytest.mark.parametrize("amount", [Decimal("2.0"), 2, "2.0"])
def test_an_amount_may_be_number_or_string(amount: object) -> None:
    assert Shape(FIELDS).split({"amount": amount})[0]["amount"] == 2


def test_a_whole_count_may_be_written_as_a_decimal() -> None:
    found = Shape(FIELDS).split({"n": Decimal("12.0")})[0]["n"]
    assert (found, type(found)) == (12, int)


@pytest.mark.parametrize(
    "row",
    [
        {"n": "3"},
        {"n": True},
        {"n": Decimal("1.5")},
        {"n": {"value": 3}},
        {"model": 3},
        {"amount": True},
        {"amount": "many"},
        {"amount": []},
        {"batch": "false"},
        {"batch": 0},
        {"group": []},
        {"keys": {}},
    ],
    ids=str,
)
def test_a_changed_type_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(ProviderProtocolError):
        Shape(FIELDS).split(row)


@pytest.mark.parametrize("row", [{}, {"n": None}])
def test_a_missing_required_field_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(ProviderProtocolError, match="required"):
        Shape(FIELDS, required=frozenset({"n"})).split(row)
