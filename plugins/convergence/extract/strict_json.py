"""JSON as a provider must send it: exact decimals, no NaN, no duplicate keys, not too deep."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from convergence.errors import MalformedResponseError, ProviderProtocolError

Json = Any

# Wide enough for BIGNUMERIC; a bound, because `1e999999999` unfolds to a gigabyte of zeros.
MAX_EXPONENT = 60
MAX_DIGITS = 90


def parse_json(body: bytes) -> Json:
    """Read a body; amounts become `Decimal`, never float.

    Raises:
        MalformedResponseError: cut, not JSON, or not UTF-8; asking again may help.
        ProviderProtocolError: NaN or Infinity, duplicate keys, nested too deep, number too large.
    """
    try:
        return _DECODER.decode(body.decode())
    except RecursionError:
        raise ProviderProtocolError("The answer is nested too deep") from None
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, an int of too many digits
        raise MalformedResponseError(
            "The answer is not JSON", fault=type(error).__name__, size=len(body)
        ) from None


def parse_amount(value: object) -> Decimal:
    """An amount as the provider wrote it, number or string, without a way through float.

    Raises:
        ProviderProtocolError: not a finite number, or beyond 60 places either way.
    """
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise ProviderProtocolError("An amount is not a number", type=type(value).__name__)
    text = str(value)
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ProviderProtocolError(
            "An amount is not a number", type=type(value).__name__
        ) from None
    if len(text) > MAX_DIGITS or not number.is_finite() or abs(number.adjusted()) > MAX_EXPONENT:
        raise ProviderProtocolError("A number is out of range", digits=len(text))
    return number


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ProviderProtocolError("The answer has an object with duplicate keys")
    return found


def _constant(name: str) -> NoReturn:
    raise ProviderProtocolError("The answer holds a number that JSON does not have", number=name)


_DECODER = json.JSONDecoder(
    parse_float=parse_amount, parse_constant=_constant, object_pairs_hook=_object
)
