"""Meters: which quantity of the usage is charged at which rate of the price table.

A step's configuration lists its meters, and the shared pricing statement
(`system/sql/prices/price_usage.sql`) has one line for each, once for the contracted and once for
the list cost.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from convergence.processors.lib.field_types import ColumnName
from convergence.processors.step_config import config_error

if TYPE_CHECKING:
    from convergence.warehouse.query import Group

Reason = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,100}$")]
"""Reason why a row has no cost or an incomplete one, such as `no_rate_output`."""


class Meter(BaseModel):
    """A quantity of the cost table and the rate that it is charged at."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    quantity: ColumnName
    """Column of the cost table that holds the quantity."""

    rate: ColumnName | None = None
    """Column of the price table that holds the rate; null where no rate is ever published."""

    fallback_rate: ColumnName | None = None
    """Column of the price table that applies where the rate is null."""

    fallback_caveat: Reason | None = None
    """The price caveat of a row that the fallback rate applies to."""

    no_rate: Reason
    """The reason of a row that has such a quantity, and a price without this rate."""

    per: Literal["million_tokens", "unit"] = "million_tokens"
    """Unit of the rate: a million tokens, or one unit of a row that has a unit."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.fallback_rate is not None and self.rate is None:
            raise config_error("fallback_rate needs a rate that it replaces")
        if self.fallback_caveat is not None and self.fallback_rate is None:
            raise config_error("fallback_caveat needs a fallback_rate")
        if self.per == "unit" and self.rate is None:
            raise config_error("per: unit needs a rate")
        return self

    @property
    def columns(self) -> Group:
        """Return the identifiers of the shared statement: names of columns and reasons."""
        return {
            "quantity": self.quantity,
            "rates": [rate for rate in (self.rate, self.fallback_rate) if rate is not None],
            "no_rate": self.no_rate,
            "caveats": [self.fallback_caveat] if self.fallback_caveat is not None else [],
        }


def meter_groups(meters: Iterable[Meter], *, per: str) -> list[Group]:
    """Return the columns of the meters whose rates are for a million tokens, or for a unit."""
    return [meter.columns for meter in meters if meter.per == per]
