from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import ProviderProtocolError
from convergence.processors.lib.daily.fields import FieldReader, amount, moment, money, numeric

COLUMNS = {
    "usage_date": "DATE",
    "bucket_start": "TIMESTAMP",
    "bucket_end": "TIMESTAMP",
    "ours": "STRING",
    "tokens": "INT64",
    "cost": "NUMERIC",
    "seen_at": "TIMESTAMP",
    "extra": "JSON",
}
READER = FieldReader(COLUMNS, filled_by_caller=("ours",), source="test")


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**17), max_value=10**17))
def test_an_amount_is_the_same_as_number_and_as_text(value: Decimal) -> None:
    assert amount(value) == amount(str(value)) == value
    assert money(value) == value.quantize(Decimal("1e-9"), ROUND_HALF_UP)


@pytest.mark.parametrize(
    ("received", "kept"),
    [
        ("6.225000000000000000", "6.225"),
        ("0.0000000005", "0.000000001"),
        ("-0.0000000005", "-0.000000001"),
        ("0.00000000049999999999999999999999999999999", "0"),
        (Decimal("1E-7"), "0.0000001"),
        (3, "3"),
    ],
)
def test_amounts_are_rounded_once_and_half_away_from_zero(received: object, kept: str) -> None:
    assert numeric(received) == Decimal(kept)


@pytest.mark.parametrize(
    "value", ["", "abc", "NaN", "Infinity", "1e29", "1e400000000", True, None, 1.5, [], {}]
)
def test_what_is_no_amount_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        amount(value)


def test_moments_are_read_as_seconds_and_as_text_but_never_without_zone() -> None:
    told = datetime(2026, 11, 17, tzinfo=UTC).isoformat()
    for value in (1794873600, "2026-11-17T00:00:00Z", "2026-11-17T01:00:00+01:00"):
        assert moment(value) == told
    for wrong in ("2026-11-17T00:00:00", "1794873600", True):
        with pytest.raises((TypeError, ValueError)):
            moment(wrong)


def test_what_has_no_column_is_kept_and_ours_can_not_be_set() -> None:
    row = READER.row({"tokens": 5, "ours": "x", "new": {"a": 1}, "usage_date": "1999-01-01"})
    assert row == {
        "tokens": 5,
        "cost": None,
        "seen_at": None,
        "extra": {"new": {"a": 1}, "ours": "x", "usage_date": "1999-01-01"},
    }


@pytest.mark.parametrize(
    "fields", [{"tokens": "5"}, {"tokens": 1.5}, {"cost": "five"}, {"seen_at": "noon"}]
)
def test_a_changed_type_is_an_error_that_names_the_field(fields: dict[str, Any]) -> None:
    with pytest.raises(ProviderProtocolError) as caught:
        READER.row(fields)
    assert caught.value.details == {"source": "test", "field": next(iter(fields))}
