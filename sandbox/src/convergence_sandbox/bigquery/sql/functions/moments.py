"""FORMAT_* and PARSE_* patterns.

https://cloud.google.com/bigquery/docs/reference/standard-sql/format-elements
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable

from convergence_sandbox.bigquery.rows.values import EPOCH, MICROSECOND, zone

_DIRECT = {
    "Y",
    "m",
    "d",
    "H",
    "M",
    "S",
    "y",
    "j",
    "B",
    "b",
    "A",
    "a",
    "p",
    "I",
    "U",
    "W",
    "u",
    "w",
    "G",
    "V",
    "g",
    "h",
}
_EXPANDED = {
    "F": "%Y-%m-%d",
    "T": "%H:%M:%S",
    "R": "%H:%M",
    "D": "%m/%d/%y",
    "c": "%a %b %e %H:%M:%S %Y",
    "x": "%m/%d/%y",
    "X": "%H:%M:%S",
}
_ELEMENT = re.compile(r"%(E\*S|E[0-9]S|E4Y|Ez|.)", re.DOTALL)


def format_moment(pattern: str, value: dt.datetime, kind: str, zone_name: str) -> str:
    """Return a civil moment (already in its zone) by BigQuery's pattern.

    Raises:
        ValueError: an element that is not done here.
    """
    special: dict[str, Callable[[], str]] = {
        "%": lambda: "%",
        "n": lambda: "\n",
        "t": lambda: "\t",
        "e": lambda: f"{value.day:2d}",
        "k": lambda: f"{value.hour:2d}",
        "l": lambda: f"{(value.hour - 1) % 12 + 1:2d}",
        "C": lambda: f"{value.year // 100:02d}",
        "P": lambda: value.strftime("%p").lower(),
        "Q": lambda: str((value.month + 2) // 3),
        "s": lambda: str(_seconds(value, zone_name)),
        "Z": lambda: "UTC" if zone_name == "UTC" else _aware(value, zone_name).strftime("%Z"),
        "z": lambda: _aware(value, zone_name).strftime("%z"),
        "Ez": lambda: _colon(_aware(value, zone_name).strftime("%z")),
        "Y": lambda: f"{value.year:04d}" if value.year < 1000 else str(value.year),
        "E4Y": lambda: f"{value.year:04d}",
    }

    def replaced(found: re.Match[str]) -> str:
        element = found[1]
        if element in special:
            return special[element]()
        if element in _EXPANDED:
            return format_moment(_EXPANDED[element], value, kind, zone_name)
        if element.startswith("E") and element.endswith("S"):
            return f"{value.second:02d}{_fraction(value.microsecond, element[1])}"
        if element in _DIRECT:
            return value.strftime(f"%{element}")
        raise ValueError(f"the format element %{element} is not implemented by this stand-in")

    return _ELEMENT.sub(replaced, pattern)


def _aware(value: dt.datetime, zone_name: str) -> dt.datetime:
    return value.replace(tzinfo=zone(zone_name))


def _seconds(value: dt.datetime, zone_name: str) -> int:
    return (_aware(value, zone_name) - EPOCH) // dt.timedelta(seconds=1)


def _colon(offset: str) -> str:
    return f"{offset[:3]}:{offset[3:5]}"


def _fraction(micros: int, digits: str) -> str:
    text = f"{micros:06d}"
    if digits == "*":
        text = text.rstrip("0")
        return f".{text}" if text else ""
    count = int(digits)
    return f".{text.ljust(9, '0')[:count]}" if count else ""


_READ = {
    "Y": r"(?P<Y>\d{4})",
    "E4Y": r"(?P<Y>\d{4})",
    "m": r"(?P<m>\d{1,2})",
    "d": r"(?P<d>\d{1,2})",
    "e": r"\s*(?P<d>\d{1,2})",
    "H": r"(?P<H>\d{1,2})",
    "k": r"\s*(?P<H>\d{1,2})",
    "I": r"(?P<I>\d{1,2})",
    "l": r"\s*(?P<I>\d{1,2})",
    "M": r"(?P<M>\d{1,2})",
    "S": r"(?P<S>\d{1,2})",
    "E*S": r"(?P<S>\d{1,2}(?:\.\d+)?)",
    "p": r"(?P<p>[AaPp][Mm])",
    "y": r"(?P<y>\d{2})",
    "j": r"(?P<j>\d{1,3})",
    "b": r"(?P<b>[A-Za-z]+)",
    "B": r"(?P<b>[A-Za-z]+)",
    "h": r"(?P<b>[A-Za-z]+)",
    "a": r"[A-Za-z]+",
    "A": r"[A-Za-z]+",
    "z": r"(?P<z>[+-]\d{2}:?\d{2})",
    "Ez": r"(?P<z>[+-]\d{2}:?\d{2})",
    "Z": r"(?P<Z>[\w/+-]+)",
    "s": r"(?P<s>-?\d+)",
    "n": r"\s+",
    "t": r"\s+",
    "%": "%",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def parse_moment(pattern: str, text: str, kind: str, zone_name: str) -> int:
    """Text by BigQuery's pattern, in microseconds since the epoch (civil ones as if in UTC).

    Raises:
        ValueError: the text does not match.
    """
    found = _reader(pattern).fullmatch(text.strip())
    if found is None:
        raise ValueError(f'Failed to parse input string "{text}"')
    parts = {key: value for key, value in found.groupdict().items() if value is not None}
    if "s" in parts:
        return int(parts["s"]) * 1_000_000
    try:
        civil = _civil(parts)
    except ValueError:
        raise ValueError(f'Failed to parse input string "{text}"') from None
    where = zone(parts.get("Z") or parts.get("z") or zone_name) if kind == "TIMESTAMP" else dt.UTC
    return (civil.replace(tzinfo=where) - EPOCH) // MICROSECOND


def _civil(parts: dict[str, str]) -> dt.datetime:
    year = int(parts.get("Y", 1970))
    if "y" in parts:
        short = int(parts["y"])
        year = short + (2000 if short < 69 else 1900)
    month = int(parts.get("m", 1))
    if "b" in parts:
        month = _MONTHS.index(parts["b"][:3].lower()) + 1
    hour = int(parts.get("H", 0))
    if "I" in parts:
        hour = int(parts["I"]) % 12 + (12 if parts.get("p", "am").lower() == "pm" else 0)
    second, _, fraction = parts.get("S", "0").partition(".")
    made = dt.datetime(  # noqa: DTZ001  # civil; the caller knows its zone
        year,
        month,
        int(parts.get("d", 1)),
        hour,
        int(parts.get("M", 0)),
        int(second),
        int(fraction[:6].ljust(6, "0")),
    )
    if "j" in parts:
        return made.replace(month=1, day=1) + dt.timedelta(days=int(parts["j"]) - 1)
    return made


def _reader(pattern: str) -> re.Pattern[str]:
    known = _READERS.get(pattern)
    if known is not None:
        return known
    made, end = "", 0
    for found in _ELEMENT.finditer(pattern):
        made += _literal(pattern[end : found.start()])
        element, end = found[1], found.end()
        if element in _EXPANDED:
            made += _reader(_EXPANDED[element]).pattern
        elif element in _READ:
            made += _READ[element]
        elif re.fullmatch(r"E[0-9]S", element):
            made += _READ["E*S"]
        else:
            raise ValueError(f"the format element %{element} is not implemented by this stand-in")
    made += _literal(pattern[end:])
    try:
        compiled = re.compile(made)
    except re.error:
        raise ValueError(f"the format {pattern!r} names one element twice") from None
    if len(_READERS) < 1000:
        _READERS[pattern] = compiled
    return compiled


def _literal(text: str) -> str:
    return "".join(r"\s+" if one.isspace() else re.escape(one) for one in text)


_READERS: dict[str, re.Pattern[str]] = {}
