"""Read the columns of one file of an export as exact amounts, texts and times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

MONEY: Final = pl.Decimal(38, 18)
QUANTITY: Final = MONEY
_PAIRS: Final = pl.List(pl.Struct({"key": pl.String, "value": pl.String}))
AMOUNTS: Final = ("billed_cost", "effective_cost", "list_cost", "contracted_cost")


class Lines:
    """Reads the columns of one file by name; a missing column is null."""

    def __init__(self, schema: Mapping[str, pl.DataType]) -> None:
        self._schema = schema
        self.doubtful: list[pl.Expr] = []
        """One condition per amount: it is present and not a number."""

    def text(self, *names: str) -> pl.Expr:
        """Return the first present column, without blanks; an empty text is null."""
        for name in names:
            if name in self._schema:
                found = pl.col(name).cast(pl.String).str.strip_chars()
                return pl.when(found != "").then(found)
        return pl.lit(None, pl.String)

    def money(self, name: str) -> pl.Expr:
        """Return an exact amount."""
        return self._number(name, MONEY)

    def quantity(self, name: str) -> pl.Expr:
        """Return an exact quantity."""
        return self._number(name, QUANTITY)

    def moment(self, name: str) -> pl.Expr:
        """Return a time as `2026-11-17T00:00:00Z`; AWS writes UTC."""
        kind = self._schema.get(name)
        if kind is not None and kind.is_temporal():
            return pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%SZ")
        return self.text(name).str.slice(0, 19).str.replace(" ", "T", literal=True) + "Z"

    def pairs(self, *names: str) -> pl.Expr:
        """Return names with values, such as tags, of the first present column, as JSON text.

        CSV holds an object; a map of Parquet becomes a list of pairs. `canonical_pairs` makes
        one text of both.
        """
        for name in names:
            kind = self._schema.get(name)
            if kind is None:
                continue
            if isinstance(kind, pl.Map | pl.List):
                listed = pl.col(name).cast(_PAIRS)
                texts = listed.list.eval(pl.element().struct.json_encode()).list.join(",")
                return pl.when(listed.list.len() > 0).then("[" + texts + "]")
            if isinstance(kind, pl.Struct):
                return pl.col(name).struct.json_encode()
            return self.text(name)
        return pl.lit(None, pl.String)

    def _number(self, name: str, kind: pl.Decimal) -> pl.Expr:
        text = self.text(name)
        number = text.cast(kind, strict=False)
        self.doubtful.append(text.is_not_null() & number.is_null())
        return number
