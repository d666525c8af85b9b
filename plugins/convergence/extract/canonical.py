"""Encode rows in one canonical form, and hash many rows independently of their order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from hashlib import sha256

from convergence.errors import ProviderProtocolError
from convergence.extract.strict_json import MAX_EXPONENT

_MODULUS = 1 << 256


def encode_row(row: Mapping[str, object]) -> bytes:
    r"""Encode a row as one line of JSON, without its newline.

    Keys are sorted; decimals are strings without trailing zeros, which BigQuery reads exactly and
    which make 2.50 and 2.5 the same row; days and times are ISO 8601.

    Raises:
        ProviderProtocolError: a value can't be encoded: NaN, a lone surrogate, nested too deep.
    """
    try:
        return _ENCODER.encode(row).encode()
    except RecursionError:
        raise ProviderProtocolError("A row is nested too deep") from None
    except (ValueError, TypeError) as error:
        raise ProviderProtocolError(
            "A row has a value that can't be encoded", cause=type(error).__name__
        ) from None


def format_decimal(number: Decimal) -> str:
    """Format a decimal without exponent and without trailing zeros."""
    if not number.is_finite() or abs(number.adjusted()) > MAX_EXPONENT:
        raise ProviderProtocolError("A number is out of range")
    text = f"{number:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


class ContentHash:
    """A hash of rows as a multiset: it ignores their order and changes with every row.

    The digests are added. Exclusive or would cancel out pairs of equal rows.
    """

    def __init__(self) -> None:
        self._sum = 0
        self._rows = 0

    def add(self, row_line: bytes) -> None:
        """Add one encoded row."""
        self._sum += int.from_bytes(sha256(row_line).digest())
        self._rows += 1

    @property
    def rows(self) -> int:
        """Return the number of added rows."""
        return self._rows

    def hexdigest(self) -> str:
        """Return the hash as 64 hexadecimal digits."""
        content = f"v1|{self._rows}|{self._sum % _MODULUS:064x}"
        return sha256(content.encode()).hexdigest()


def _encode_value(value: object) -> str:
    if isinstance(value, Decimal):
        return format_decimal(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not JSON")


_ENCODER = json.JSONEncoder(
    ensure_ascii=False,
    check_circular=False,
    allow_nan=False,
    sort_keys=True,
    separators=(",", ":"),
    default=_encode_value,
)
