"""The declared fields of a provider's rows: unknown ones are kept apart, changed types refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from convergence.errors import ProviderProtocolError
from convergence.extract.strict_json import exact

Row = Mapping[str, Any]


class Kind(StrEnum):
    """What a field may hold; null is always allowed unless the field is required."""

    TEXT = "text"
    COUNT = "count"
    AMOUNT = "amount"
    FLAG = "flag"
    OBJECT = "object"
    LIST = "list"


_TYPES: Mapping[Kind, tuple[type, ...]] = {
    Kind.TEXT: (str,),
    Kind.COUNT: (int,),
    Kind.AMOUNT: (int, str, Decimal),
    Kind.FLAG: (bool,),
    Kind.OBJECT: (dict,),
    Kind.LIST: (list,),
}


@dataclass
class Shape:
    """The fields of one kind of row.

    Attributes:
        fields: name → kind.
        required: names that must be there and not null.
        unknown: how often each undeclared field was seen, since the shape was made.
    """

    fields: Mapping[str, Kind]
    required: frozenset[str] = frozenset()
    unknown: Counter[str] = field(default_factory=Counter)

    def split(self, row: Row) -> tuple[dict[str, Any], dict[str, Any]]:
        """The declared fields, absent ones as None, and the undeclared ones.

        Amounts come out as `Decimal`; a count that comes as 12.0 is 12.

        Raises:
            ProviderProtocolError: a required field is missing, or a field has another type.
        """
        known = {name: self._read(name, kind, row.get(name)) for name, kind in self.fields.items()}
        extra = {name: value for name, value in row.items() if name not in self.fields}
        self.unknown.update(extra.keys())
        return known, extra

    def _read(self, name: str, kind: Kind, value: object) -> object:
        if value is None:
            if name in self.required:
                raise ProviderProtocolError("A required field is missing", field=name)
            return None
        if kind is Kind.COUNT and isinstance(value, Decimal) and value == value.to_integral_value():
            return int(value)
        wrong_flag = isinstance(value, bool) and kind is not Kind.FLAG
        if wrong_flag or not isinstance(value, _TYPES[kind]):
            raise ProviderProtocolError(
                "A field has changed its type", field=name, expected=kind, got=type(value).__name__
            )
        return exact(value) if kind is Kind.AMOUNT else value
