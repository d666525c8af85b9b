"""Parse JSON strictly: exact decimals, no NaN, no duplicate keys, limited depth."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from convergence.errors import MalformedResponseError, ProviderProtocolError
from convergence.extract.json_depth import check_depth

Json = Any

# Wide enough for BIGNUMERIC. Without a limit `1e999999999` would expand to a gigabyte of zeros.
MAX_EXPONENT = 60
MAX_DIGITS = 90


def parse_json(body: bytes) -> Json:
    """Parse a body; amounts become `Decimal`, never float.

    Raises:
        MalformedResponseError: incomplete, not JSON, or not UTF-8; a retry may help.
        ProviderProtocolError: NaN or Infinity, duplicate keys, nested too deep, number too large.
    """
    check_depth(body)
    try:
        return _DECODER.decode(body.decode())
    except RecursionError:
        raise ProviderProtocolError("The response is nested too deep") from None
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, an int of too many digits
        raise MalformedResponseError(
            "The response is not JSON", cause=type(error).__name__, size=len(body)
        ) from None


def parse_amount(value: object) -> Decimal:
    """Parse an amount, a number or a string, exactly as the provider wrote it; never as float.

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


def _build_object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ProviderProtocolError("The response has an object with duplicate keys")
    return found


def _reject_constant(name: str) -> NoReturn:
    raise ProviderProtocolError("The response has a number that JSON does not allow", number=name)


_DECODER = json.JSONDecoder(
    parse_float=parse_amount, parse_constant=_reject_constant, object_pairs_hook=_build_object
)
