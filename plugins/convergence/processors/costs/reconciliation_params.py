"""Identifiers and parameters of the statement that compares a stream's bill with its usage."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from convergence.processors.costs.discounts import Discount
from convergence.processors.costs.org_settings import DeclaredFactor
from convergence.providers.cost_streams import CostStream
from convergence.providers.reconciliation import PriceBook, Reconciliation
from convergence.warehouse.params import Param, typed
from convergence.warehouse.query import Group

TIER_COLUMN = "x_ServiceTier"
"""A factor of this column is one on the price of the standard tier."""
CREDIT_LINE = r"\b(credit|credits|refund|grant)\b"
"""Words of a bill's line that is no charge."""


def build_identifiers(declared: CostStream, reconciliation: Reconciliation) -> dict[str, Any]:
    """Return the statement's identifiers that follow from the stream's declaration."""
    return {
        "never_billed": [{"column": one.column} for one in declared.never_billed],
        "pricing_table": reconciliation.book.table,
        "rates": _list_rates(reconciliation.book),
        "caveats": [
            {"name": one.name, "number": str(number)}
            for number, one in enumerate(reconciliation.caveats, 1)
        ],
        "factors": [
            {
                "name": one.reason,
                "number": str(number),
                "columns": [one.column] if one.column else [],
                "tier_columns": [one.column] if one.column == TIER_COLUMN else [],
                "base_meters": [one.base_meter] if one.base_meter else [],
            }
            for number, one in enumerate(reconciliation.factors, 1)
        ],
    }


def build_declared_params(declared: CostStream, reconciliation: Reconciliation) -> dict[str, Param]:
    """Return the parameters that follow from the stream's declaration."""
    params: dict[str, Param] = {"credit_line": CREDIT_LINE}
    if declared.never_billed:
        values = {value for one in declared.never_billed for value in one.values}
        params["never_billed"] = typed(sorted(values), "STRING")
    for number, caveat in enumerate(reconciliation.caveats, 1):
        output = caveat.max_output_factor
        params |= {
            f"caveat_{number}": caveat.max_factor,
            f"caveat_{number}_output": caveat.max_factor if output is None else output,
            f"caveat_{number}_meters": typed(list(caveat.meters), "STRING"),
        }
    for number, factor in enumerate(reconciliation.factors, 1):
        output = factor.factor if factor.output_factor is None else factor.output_factor
        params |= {
            f"factor_{number}": _numeric(factor.factor),
            f"factor_{number}_output": _numeric(output),
        }
        if factor.line is not None:
            params[f"factor_{number}_line"] = factor.line
        else:
            params[f"factor_{number}_values"] = typed(list(factor.values), "STRING")
    return params


def build_discount_params(discount: Discount | None) -> dict[str, Param]:
    """Return the parameters of a contract discount, or of none."""
    return {
        "discount_ratio": _numeric(discount.ratio if discount else None),
        "discount_skus": typed(list(discount.skus) if discount else [], "STRING"),
    }


def build_setting_identifiers(factors: Sequence[DeclaredFactor]) -> list[Group]:
    """Return the identifiers of the factors that the organization declares."""
    return [{"name": one.reason, "number": str(number)} for number, one in enumerate(factors, 1)]


def build_setting_params(factors: Sequence[DeclaredFactor]) -> dict[str, Param]:
    """Return the parameters of the factors that the organization declares."""
    params: dict[str, Param] = {}
    for number, one in enumerate(factors, 1):
        params |= {f"declared_{number}": one.factor, f"declared_{number}_models": one.models}
    return params


def _list_rates(book: PriceBook) -> list[Group]:
    return [
        {"meter": meter, "column": column, "per": per}
        for rates, per in ((book.rates, "1000000"), (book.unit_rates, "1"))
        for meter, column in rates.items()
    ]


def _numeric(value: Decimal | None) -> Param:
    return typed(value, "NUMERIC")
