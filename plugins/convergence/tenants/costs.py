"""An org's cost as its own dataset shows it: grouped sums of `cost_daily`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final, Literal, get_args

from convergence.errors import RequestError
from convergence.warehouse.client import Warehouse
from convergence.warehouse.params import Param
from convergence.warehouse.query import Row, run_file

Dimension = Literal["day", "provider", "service", "model", "project"]
DIMENSIONS: Final[tuple[Dimension, ...]] = get_args(Dimension)
MOST_ROWS: Final = 50_000


class TooManyRowsError(RequestError):
    """Raised when an answer would hold more than `MOST_ROWS` rows; ask for less at a time."""

    code = "too_many_rows"


@dataclass(frozen=True, kw_only=True)
class CostQuery:
    """What is asked of one org's costs.

    Attributes:
        dataset: the org's own dataset; the org is chosen by it alone.
        first_day: of the range; both ends included, UTC.
        group_by: what rows are told apart by, beside basis and currency.
        bases: `provider/basis` pairs to add up, such as `openai/computed`: one a provider.
        provider: only this one; likewise service, model and project. Empty for all.
    """

    dataset: str
    first_day: date
    last_day: date
    group_by: Sequence[Dimension]
    bases: Sequence[str]
    provider: str = ""
    service: str = ""
    model: str = ""
    project: str = ""


@dataclass(frozen=True)
class Total:
    """A sum of rows of one basis and one currency."""

    basis: str
    currency: str
    cost: Decimal
    list_cost: Decimal
    billed_cost: Decimal


@dataclass(frozen=True)
class CostReport:
    """Rows, their totals, and the usage that no row has a price for."""

    rows: Sequence[Row]
    totals: Sequence[Total]
    unpriced: Sequence[Row]


def read_costs(w: Warehouse, query: CostQuery) -> CostReport:
    """Ask the org's dataset.

    Raises:
        TooManyRowsError: the grouping is too fine for the range.
    """
    rows = _rows(w, query, "costs/cost_rows.sql", _grouping(query.group_by))
    unpriced = _rows(w, query, "costs/unpriced_usage.sql", {})
    return CostReport(rows, totals(rows), unpriced)


def totals(rows: Sequence[Row]) -> list[Total]:
    """Add up rows within each basis and currency, never across."""
    zero = Decimal(0)
    pairs = sorted({(row["basis"], row["currency"]) for row in rows})
    return [
        Total(
            basis,
            currency,
            *(
                sum((row[name] or zero for row in rows if _is(row, basis, currency)), zero)
                for name in ("cost", "list_cost", "billed_cost")
            ),
        )
        for basis, currency in pairs
    ]


def _is(row: Row, basis: str, currency: str) -> bool:
    return bool(row["basis"] == basis and row["currency"] == currency)


def _grouping(group_by: Sequence[Dimension]) -> dict[str, Param]:
    return {f"by_{dimension}": dimension in group_by for dimension in DIMENSIONS}


def _rows(w: Warehouse, query: CostQuery, sql: str, more: dict[str, Param]) -> list[Row]:
    params: dict[str, Param] = {
        "first_day": query.first_day,
        "last_day": query.last_day,
        "bases": list(query.bases),
        "provider": query.provider,
        "service": query.service,
        "model": query.model,
        "project_id": query.project,
        "most_rows": MOST_ROWS + 1,
        **more,
    }
    rows = run_file(w, w.sql(sql), identifiers={"dataset": query.dataset}, params=params)
    if len(rows) > MOST_ROWS:
        raise TooManyRowsError(
            f"More than {MOST_ROWS} rows; ask for fewer days or a coarser group_by"
        )
    return rows
