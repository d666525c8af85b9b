"""Parameters of an effect: each has a type, a range and a default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

Value = Decimal | int | str
Type = Literal["decimal", "integer", "text"]


class InvalidEffectError(ValueError):
    """Raised when an effect's specification is wrong; the message lists what is accepted."""


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes:
        default: None: it is required.
        choices: of a text; empty: any text.
        low: smallest number.
        high: greatest number.
    """

    name: str
    type: Type
    default: Value | None = None
    choices: tuple[str, ...] = ()
    low: Decimal | None = None
    high: Decimal | None = None

    def parse_value(self, value: object) -> Value:
        """Check a value of JSON or TOML; decimals may be text.

        Raises:
            InvalidEffectError: it has another type, or is out of range.
        """
        if self.type == "text":
            return self._parse_text(value)
        number = self._parse_number(value)
        if self.low is not None and number < self.low:
            raise self._error(value, f"at least {self.low}")
        if self.high is not None and number > self.high:
            raise self._error(value, f"at most {self.high}")
        return number

    def as_json(self) -> dict[str, Any]:
        """Return what the parameter accepts."""
        return {
            "type": self.type,
            "required": self.default is None,
            "default": None if self.default is None else str(self.default),
            **({"choices": list(self.choices)} if self.choices else {}),
        }

    def _parse_text(self, value: object) -> str:
        if not isinstance(value, str) or not value:
            raise self._error(value, "a text")
        if self.choices and value not in self.choices:
            raise self._error(value, f"one of {', '.join(self.choices)}")
        return value

    def _parse_number(self, value: object) -> Decimal | int:
        if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
            raise self._error(value, "a number")
        try:
            number = Decimal(value)
        except InvalidOperation:
            raise self._error(value, "a number") from None
        if not number.is_finite():
            raise self._error(value, "a number")
        if self.type == "decimal":
            return number
        if number != number.to_integral_value():
            raise self._error(value, "a whole number")
        return int(number)

    def _error(self, value: object, accepted: str) -> InvalidEffectError:
        return InvalidEffectError(f"parameter {self.name}: {value!r} is not {accepted}")


def parse_parameters(
    accepted: Sequence[Parameter], payload: Mapping[str, object]
) -> dict[str, Value]:
    """Return every parameter's value, defaults included.

    Raises:
        InvalidEffectError: an unknown, a missing or a wrong parameter.
    """
    names = [one.name for one in accepted]
    if unknown := sorted(set(payload) - set(names)):
        raise InvalidEffectError(f"unknown parameters {unknown}; accepted: {sorted(names)}")
    found: dict[str, Value] = {}
    for one in accepted:
        if one.name in payload:
            found[one.name] = one.parse_value(payload[one.name])
        elif one.default is not None:
            found[one.name] = one.default
        else:
            raise InvalidEffectError(f"parameter {one.name} is required")
    return found


def decimal_parameter(
    name: str, default: str | None = None, *, low: str | None = None, high: str | None = None
) -> Parameter:
    """Return a parameter that is a decimal number."""
    limits = [None if one is None else Decimal(one) for one in (default, low, high)]
    return Parameter(name, "decimal", limits[0], low=limits[1], high=limits[2])


def integer_parameter(
    name: str, default: int | None = None, *, low: int | None = None
) -> Parameter:
    """Return a parameter that is a whole number."""
    return Parameter(name, "integer", default, low=None if low is None else Decimal(low))


def text_parameter(
    name: str, default: str | None = None, *, choices: Sequence[str] = ()
) -> Parameter:
    """Return a parameter that is a text."""
    return Parameter(name, "text", default, choices=tuple(choices))
