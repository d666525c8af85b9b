"""JSON as money needs it: exact, and hostile input refused by name."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import MalformedResponseError, ProviderProtocolError
from convergence.extract.canonical import encode_row, format_decimal
from convergence.extract.strict_json import parse_amount, parse_json

amounts = st.decimals(
    min_value=-(10**30), max_value=10**30, allow_nan=False, allow_infinity=False, places=15
)


@given(amounts)
def test_every_digit_of_an_amount_survives(amount: Decimal) -> None:
    text = f"{amount:f}"
    assert parse_json(f'{{"a": {text}}}'.encode())["a"] == amount
    assert parse_amount(text) == amount
    assert Decimal(format_decimal(amount)) == amount


def test_no_number_is_ever_a_float() -> None:
    found = parse_json(b'{"a": 12345678901234567890.12, "b": 1e-9, "c": -0.0, "d": 7}')
    assert found["a"] == Decimal("12345678901234567890.12")
    assert [type(value) for value in found.values()] == [Decimal, Decimal, Decimal, int]


@pytest.mark.parametrize(
    "body", [b'{"a": NaN}', b'{"a": Infinity}', b'{"a": -Infinity}', b'{"a": 1, "a": 1}',
             b'[{"b": {"a": 1, "a": 2}}]', b"[" * 100_000, b'{"a":' * 100_000,
             b'{"a": 1e999999999}', b'{"a": 1e-999999999}', b'{"a": 0.' + b"1" * 5_000 + b"}"],
    ids=lambda body: body[:20],
)  # fmt: skip
def test_what_json_does_not_allow_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProviderProtocolError) as failure:
        parse_json(body)
    assert not isinstance(failure.value, MalformedResponseError)


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"{", b'{"a": 1', b"<html>", b'{"a": 1} x', b'"\xff"', b"\xef\xbb\xbf{}",
     "{}".encode("utf-16"), b"9" * 5_000],
    ids=lambda body: body[:20],
)  # fmt: skip
def test_what_can_not_be_read_is_malformed_and_its_text_stays_out_of_the_error(body: bytes) -> None:
    with pytest.raises(MalformedResponseError) as failure:
        parse_json(body)
    assert failure.value.__cause__ is None
    assert failure.value.__suppress_context__
    assert "html" not in str(failure.value)


@given(st.binary(max_size=60))
def test_any_bytes_are_json_or_a_named_error(body: bytes) -> None:
    try:
        parse_json(body)
    except ProviderProtocolError:
        return


@pytest.mark.parametrize("value", [None, True, 1.5, "x", "", "NaN", "Infinity", "1e99", [], "1_0x"])
def test_an_amount_that_is_none_is_an_error(value: Any) -> None:
    with pytest.raises(ProviderProtocolError):
        parse_amount(value)


@pytest.mark.parametrize(
    ("amount", "text"),
    [("2.50", "2.5"), ("2.0", "2"), ("-0", "0"), ("0.000", "0"), ("1E+3", "1000"), ("100", "100"),
     ("6.225000000000000000", "6.225"), ("-1E-9", "-0.000000001")],
)  # fmt: skip
def test_equal_amounts_are_written_equally(amount: str, text: str) -> None:
    assert format_decimal(Decimal(amount)) == text


def test_a_row_is_written_the_same_whatever_its_order() -> None:
    one = encode_row({"b": Decimal("1.10"), "a": {"y": 1, "x": None}, "c": "é"})
    two = encode_row({"c": "é", "a": {"x": None, "y": 1}, "b": Decimal("1.1")})
    assert one == two == '{"a":{"x":null,"y":1},"b":"1.1","c":"é"}'.encode()
    assert json.loads(one)["b"] == "1.1"


def nested(depth: int) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for _ in range(depth):
        row = {"a": row}
    return row


@pytest.mark.parametrize(
    "row",
    [{"a": float("nan")}, {"a": "\ud800"}, {"a": object()}, {"a": Decimal("1e400")}, nested(5_000)],
    ids=["nan", "surrogate", "object", "huge", "deep"],
)
def test_a_row_that_can_not_be_written_is_a_protocol_error(row: dict[str, Any]) -> None:
    with pytest.raises(ProviderProtocolError):
        encode_row(row)
