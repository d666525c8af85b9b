"""Text into values, by GoogleSQL's canonical formats; the one place that knows them.

Literals, parameters, CAST from STRING, load jobs and streaming inserts all read values here.
https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types (canonical formats) and
conversion_functions (CAST). Every function raises ValueError with the offending text.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import zoneinfo
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact, InvalidOperation
from functools import lru_cache
from typing import Any

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MICROSECOND = dt.timedelta(microseconds=1)
NUMERIC_SCALE = 9
BIGNUMERIC_SCALE = 38
NUMERIC_LIMIT = Decimal(10) ** 29
BIGNUMERIC_UNSCALED_MAX = 2**255 - 1
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
# Python's default context has 28 digits, fewer than NUMERIC: never compute outside this one.
WIDE = Context(prec=200, rounding=ROUND_HALF_UP, traps=[InvalidOperation])
_NINE = Decimal(1).scaleb(-NUMERIC_SCALE)
_FAR_TOO_WIDE = Decimal(10) ** 40
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_INTEGER = re.compile(r"\s*[+-]?(\d+|0[xX][0-9a-fA-F]+)\s*", re.ASCII)
_DATE = re.compile(r"\s*(\d{4})-(\d{1,2})-(\d{1,2})", re.ASCII)
_CLOCK = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d{0,6}))?", re.ASCII)
_OFFSET = re.compile(r"([+-])(\d{1,2})(?::?(\d{2}))?", re.ASCII)


@lru_cache(maxsize=65_536)
def parse_date(text: str) -> dt.date:
    """`YYYY-[M]M-[D]D`."""
    found = _DATE.fullmatch(text.rstrip())
    if found is None:
        raise ValueError(f'Invalid date: "{text}"')
    try:
        return dt.date(*(int(part) for part in found.groups()))
    except ValueError:
        raise ValueError(f'Invalid date: "{text}"') from None


def _clock(text: str) -> tuple[dt.time, int]:
    """Return the time at the beginning of `text`, and where it ends."""
    found = _CLOCK.match(text)
    if found is None:
        raise ValueError(text)
    hour, minute, second, fraction = found.groups()
    micros = int((fraction or "").ljust(6, "0"))
    return dt.time(int(hour), int(minute), int(second), micros), found.end()


def parse_time(text: str) -> dt.time:
    """`[H]H:[M]M:[S]S[.DDDDDD]`."""
    try:
        value, end = _clock(text.strip())
        if end == len(text.strip()):
            return value
    except ValueError:
        pass
    raise ValueError(f'Invalid time string "{text}"')


def _split_moment(text: str, error: str) -> tuple[dt.date, dt.time, str]:
    """Date, time of day, and what follows (a zone)."""
    stripped = text.strip()
    found = _DATE.match(stripped)
    if found is None:
        raise ValueError(error)
    rest = stripped[found.end() :]
    clock = dt.time()
    try:
        day = dt.date(*(int(part) for part in found.groups()))
        if re.match(r"[ Tt]\d", rest):
            clock, end = _clock(rest[1:])
            rest = rest[1 + end :]
    except ValueError:
        raise ValueError(error) from None
    return day, clock, rest


def parse_datetime(text: str) -> dt.datetime:
    """Return a civil date and time, without a zone."""
    error = f'Invalid datetime string "{text}"'
    day, clock, rest = _split_moment(text, error)
    if rest:
        raise ValueError(error)
    return dt.datetime.combine(day, clock)


@lru_cache(maxsize=512)
def zone(name: str) -> dt.tzinfo:
    """Return a time zone by IANA name or by offset (`+8`, `-07:30`, `Z`)."""
    if name in {"Z", "z", "UTC"}:
        return dt.UTC
    found = _OFFSET.fullmatch(name)
    if found is not None:
        sign, hours, minutes = found.groups()
        offset = dt.timedelta(hours=int(hours), minutes=int(minutes or 0))
        if offset <= dt.timedelta(hours=14) and int(minutes or 0) < 60:
            return dt.timezone(-offset if sign == "-" else offset)
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"Invalid time zone: {name}") from None


@lru_cache(maxsize=65_536)
def parse_timestamp(text: str, default_zone: str = "UTC") -> int:
    """Return a point in time, in microseconds since the epoch."""
    error = f'Invalid timestamp: "{text}"'
    day, clock, rest = _split_moment(text, error)
    named = rest.strip()
    if named and rest[0] != " " and named[0] not in "+-Zz":
        raise ValueError(error)
    try:
        where = zone(named or default_zone)
        moment = dt.datetime.combine(day, clock, tzinfo=where)
        return (moment - EPOCH) // MICROSECOND
    except (ValueError, OverflowError):
        raise ValueError(error) from None


def parse_decimal(text: str) -> Decimal:
    """Any finite decimal number, exact."""
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(f"Invalid NUMERIC value: {text}")
    return Decimal(text.strip())


def round_decimal(value: Decimal, scale: int) -> Decimal:
    """Half away from zero to `scale` decimals; a negative scale rounds left of the point."""
    return value.quantize(Decimal(1).scaleb(-scale), context=WIDE)


def to_numeric(value: Decimal) -> Decimal:
    """Rounded to NUMERIC's nine decimals, and within its 29 integer digits."""
    if not value.is_finite() or value.copy_abs() >= _FAR_TOO_WIDE:
        raise ValueError(f"Invalid NUMERIC value: {value}")
    made = value.quantize(_NINE, context=WIDE)
    if made.copy_abs() >= NUMERIC_LIMIT:
        raise ValueError(f"Invalid NUMERIC value: {value}")
    return made


def to_bignumeric(value: Decimal) -> int:
    """Return the value times 10^38 as BIGNUMERIC keeps it, rounded half away from zero."""
    if not value.is_finite() or value.copy_abs() >= _FAR_TOO_WIDE:
        raise ValueError(f"Invalid BIGNUMERIC value: {value}")
    unscaled = int(
        value.scaleb(BIGNUMERIC_SCALE, context=WIDE).to_integral_value(rounding=ROUND_HALF_UP)
    )
    if not -BIGNUMERIC_UNSCALED_MAX - 1 <= unscaled <= BIGNUMERIC_UNSCALED_MAX:
        raise ValueError(f"Invalid BIGNUMERIC value: {value}")
    return unscaled


def is_exact(value: Decimal, scale: int) -> bool:
    """Return whether the value has no digit beyond `scale` decimals."""
    context = WIDE.copy()
    context.clear_flags()
    value.quantize(Decimal(1).scaleb(-scale), context=context)
    return not context.flags[Inexact]


def parse_int64(text: str) -> int:
    """Return a decimal or `0x` integer within INT64."""
    if _INTEGER.fullmatch(text) is None:
        raise ValueError(f"Bad int64 value: {text}")
    value = int(text.strip(), 16 if "x" in text.lower() else 10)
    if not INT64_MIN <= value <= INT64_MAX:
        raise ValueError(f"Bad int64 value: {text}")
    return value


def parse_float64(text: str) -> float:
    """Return a number, `inf`, `-inf`, `infinity` or `nan` in any case."""
    stripped = text.strip().lower()
    special = stripped.lstrip("+-") in {"inf", "infinity", "nan"}
    if not special and _NUMBER.fullmatch(text) is None:
        raise ValueError(f"Bad double value: {text}")
    value = float(stripped)
    if value in {float("inf"), float("-inf")} and not special:
        raise ValueError(f"Bad double value: {text}")
    return value


def parse_bool(text: str) -> bool:
    """`true` or `false`, in any case."""
    lowered = text.strip().lower()
    if lowered not in {"true", "false"}:
        raise ValueError(f"Bad bool value: {text}")
    return lowered == "true"


def dump_json(value: Any) -> str:  # noqa: ANN401  # any JSON value
    """JSON as BigQuery normalizes it: keys sorted, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def parse_json(text: str) -> str:
    """Normalized JSON text of a JSON document."""
    try:
        return dump_json(json.loads(text, parse_constant=_reject_constant))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"syntax error while parsing value: {error}") from None


def _reject_constant(name: str) -> Any:  # noqa: ANN401  # never returns
    raise ValueError(f"invalid literal {name}")
