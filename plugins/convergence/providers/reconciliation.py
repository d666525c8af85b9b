"""What a cost stream declares for the comparison of its bill with its usage."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from convergence.config_files import Strict

ReasonName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,100}$")]
MeterName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
BookColumn = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Factor = Annotated[Decimal, Field(ge=0, le=100, strict=False)]


class PriceBook(Strict):
    """The price table of a stream: what a bill's line without usage would cost.

    Attributes:
        table: the table of the org's dataset.
        rates: by meter, the column with its price for a million.
        unit_rates: by meter, the column with its price for one.
    """

    table: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    rates: dict[MeterName, BookColumn] = Field(default_factory=dict)
    unit_rates: dict[MeterName, BookColumn] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_rates(self) -> Self:
        if not (self.rates or self.unit_rates):
            raise ValueError("a price book needs rates or unit_rates")
        return self


class PriceCaveat(Strict):
    """By how much a caveat of a computed price can raise it at most.

    Attributes:
        name: the caveat, as cost tables have it.
        max_factor: the highest price divided by the computed one.
        max_output_factor: the same of output; that of everything else if None.
        meters: the meters that it can affect; empty for all.
    """

    name: ReasonName
    max_factor: Factor
    max_output_factor: Factor | None = None
    meters: tuple[MeterName, ...] = ()


class KnownFactor(Strict):
    """A factor on the computed price that a line of the bill names.

    Attributes:
        reason: the reason of the amount that the factor makes.
        line: regular expression (RE2) that the line's description in lower case contains.
        column: the column of the bill's view that names the factor instead.
        values: the values of the column.
        factor: what the computed price is multiplied by; None where the line's own amount counts.
        output_factor: the same of output; that of everything else if None.
        base_meter: the meter whose price is multiplied, in place of the line's own.
    """

    reason: ReasonName
    line: Annotated[str, Field(max_length=200)] | None = None
    column: Literal["RegionId", "x_ContextWindow", "x_ServiceTier"] | None = None
    values: tuple[str, ...] = ()
    factor: Factor | None = None
    output_factor: Factor | None = None
    base_meter: MeterName | None = None

    @model_validator(mode="after")
    def _names_its_lines(self) -> Self:
        if (self.line is None) == (self.column is None):
            raise ValueError("a factor needs either line or column")
        if (self.column is None) != (not self.values):
            raise ValueError("column and values belong together")
        return self


class Reconciliation(Strict):
    """The declaration of one stream.

    Attributes:
        book: the stream's price table.
        caveats: bounds of caveats, in the order in which they take their amounts. A caveat without
            one is only a candidate.
        factors: factors that lines of the bill name; the first that fits a line counts.
    """

    book: PriceBook
    caveats: tuple[PriceCaveat, ...] = ()
    factors: tuple[KnownFactor, ...] = ()
