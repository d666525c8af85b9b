"""One line of a bill, and what a provider's stand-in offers the effects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

Keys = Mapping[str, Any]
Quantity = int | Decimal
# Of an amount that is divided: finer than any public price of one token.
_FINEST = Decimal("1e-12")


@dataclass(frozen=True)
class BillLine:
    """One amount of a bill at the finest grain.

    Attributes:
        keys: the provider's dimensions: project, line item, workspace, description.
        model: None for a tool, storage or a credit.
        meter: what was counted, as the bill names it, without the model.
        amount: what is billed.
        list_amount: the same at list price, for providers that state it.
        quantity: None where the line has none.
        unit: None where the provider names none.
        measure: which tokens are counted: `uncached`, `cached`, `cache_write`, `output` or another
            class of the provider; None for a line that counts no tokens.
        row: the usage row that the line prices; lines of one row belong together.
        input_rate: currency per million uncached tokens of the row.
        long_writes: how many of the written tokens are kept for 12 hours.
        requests: how many requests the usage row counts.
    """

    keys: Keys
    model: str | None
    meter: str
    amount: Decimal
    list_amount: Decimal
    quantity: Quantity | None = None
    unit: str | None = None
    currency: str = "USD"
    measure: str | None = None
    row: str = ""
    input_rate: Decimal = Decimal(0)
    long_writes: int = 0
    requests: int = 0

    def scale(self, factor: Decimal) -> BillLine:
        """Return the line at another price: amount and list amount times `factor`."""
        return replace(self, amount=self.amount * factor, list_amount=self.list_amount * factor)

    def take(self, quantity: Quantity) -> BillLine:
        """Return a part of the line: `quantity` units at the line's average price, no requests."""
        if not self.quantity:
            raise ValueError(f"{self.meter} counts nothing")
        return replace(
            self,
            quantity=quantity,
            requests=0,
            amount=_divide_amount(self.amount, quantity, self.quantity),
            list_amount=_divide_amount(self.list_amount, quantity, self.quantity),
        )

    def without(self, part: BillLine) -> BillLine:
        """Return the rest of the line after a part was taken from it."""
        return replace(
            self,
            quantity=(self.quantity or 0) - (part.quantity or 0),
            amount=self.amount - part.amount,
            list_amount=self.list_amount - part.list_amount,
        )


@dataclass(frozen=True)
class View:
    """Which state of a bill a reader sees.

    Attributes:
        as_of: the moment of the request, UTC.
        read: 1 for the first request of the day's bill, and so on.
    """

    as_of: datetime
    read: int = 1


MakeLine = Callable[..., BillLine]


@dataclass(frozen=True)
class BillSource:
    """A provider's bill without effects, and how the provider writes what an effect adds.

    Attributes:
        name: the provider.
        base_lines: every line of an organization's day, in a fixed order.
        add_note: the same line, named as the provider names `regional`, `long context` or `free`.
        rename_model: the same line under another name of the model.
        make_line: a new line from `seed`, `model`, `meter`, `quantity`, `unit` and `amount`.
        sub_account: the key that names the project or workspace.
        kinds: the effects that this provider's bill can have, by name.
    """

    name: str
    base_lines: Callable[[str, date], Iterable[BillLine]]
    add_note: Callable[[BillLine, str], BillLine]
    rename_model: Callable[[BillLine, str], BillLine]
    make_line: MakeLine
    sub_account: str
    kinds: Mapping[str, Any] = field(default_factory=dict)


def _divide_amount(amount: Decimal, part: Quantity, whole: Quantity) -> Decimal:
    return (amount * part / whole).quantize(_FINEST)
