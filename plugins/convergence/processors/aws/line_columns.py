"""Polars expressions that turn a line of either export into columns of `aws_cost_daily`.

Money is read from its text to 18 decimals, never through a float: CSV holds text; Parquet holds
doubles, which are taken at their shortest decimal form, the one that reads back as the same double
(what AWS itself lost before is lost). Amounts that are neither blank nor a number are counted.

CUR 2.0 has one line per charge and no FOCUS columns. From
https://docs.aws.amazon.com/cur/latest/userguide/cur-ri-line-items.html and …/cur-sp.html:

| line type                | billed    | effective                             | list             |
|--------------------------|-----------|---------------------------------------|------------------|
| Usage                    | unblended | unblended                             | public on demand |
| DiscountedUsage          | 0 (RI)    | reservation's effective cost          | public on demand |
| SavingsPlanCoveredUsage  | unblended | savings plan's effective cost         | public on demand |
| SavingsPlanNegation      | -unblended| 0                                     | 0                |
| SavingsPlanRecurringFee  | unblended | commitment - what was used of it      | unblended        |
| SavingsPlanUpfrontFee    | unblended | 0                                     | unblended        |
| RIFee                    | unblended | unused upfront + unused recurring fee | unblended        |
| Fee of a reservation     | unblended | 0                                     | unblended        |
| Fee, Tax, Credit, Refund, discounts | unblended | unblended                  | unblended        |

Billed cost is the unblended cost of every line, negations too: so it adds up to the bill to the
last digit, and covered usage and its negation cancel each other out. Effective cost spreads what
was paid ahead over what it covers, and leaves with the fee what nobody used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

from convergence.processors.aws.columns import Kind

MONEY: Final = pl.Decimal(38, 18)
QUANTITY: Final = pl.Decimal(38, 9)
AMOUNTS: Final = ("billed_cost", "effective_cost", "list_cost", "contracted_cost")
NOTHING: Final = pl.lit(0).cast(MONEY)

_USAGE: Final = ("Usage", "DiscountedUsage", "SavingsPlanCoveredUsage")
_COVERED: Final = ("DiscountedUsage", "SavingsPlanCoveredUsage")
_RECURRING: Final = ("RIFee", "SavingsPlanRecurringFee")
_FEES: Final = (*_RECURRING, "SavingsPlanUpfrontFee", "Fee")
_NEGATION: Final = "SavingsPlanNegation"

LINE_TYPES: Final = frozenset({*_USAGE, *_FEES, _NEGATION, "Tax", "Credit", "Refund"})
"""Documented line types; types that end with Discount are documented too."""


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
        """Return a quantity with 9 decimals."""
        return self._number(name, QUANTITY)

    def moment(self, name: str) -> pl.Expr:
        """Return a time as `2026-11-17T00:00:00Z`; AWS writes UTC."""
        kind = self._schema.get(name)
        if kind is not None and kind.is_temporal():
            return pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%SZ")
        return self.text(name).str.slice(0, 19).str.replace(" ", "T", literal=True) + "Z"

    def _number(self, name: str, kind: pl.Decimal) -> pl.Expr:
        text = self.text(name)
        number = text.cast(kind, strict=False)
        self.doubtful.append(text.is_not_null() & number.is_null())
        return number


def build_columns(lines: Lines, kind: Kind) -> dict[str, pl.Expr]:
    """Return an expression per table column; `period` is the month of the billing period."""
    return _cur2(lines) if kind == "cur2" else _focus(lines)


def _focus(lines: Lines) -> dict[str, pl.Expr]:
    billed = lines.money("BilledCost")
    return {
        "line_type": pl.lit(None, pl.String),
        "charge_category": lines.text("ChargeCategory"),
        "charge_class": lines.text("ChargeClass"),
        "charge_frequency": lines.text("ChargeFrequency"),
        "billing_account_id": lines.text("BillingAccountId"),
        "sub_account_id": lines.text("SubAccountId"),
        "sub_account_name": lines.text("SubAccountName"),
        "service_code": lines.text("x_ServiceCode"),
        "service_name": lines.text("ServiceName"),
        "service_category": lines.text("ServiceCategory"),
        "sku_id": lines.text("SkuId"),
        "usage_type": lines.text("SkuMeter", "x_UsageType"),
        "operation": lines.text("x_Operation"),
        "region": lines.text("RegionId", "Region"),
        "pricing_category": lines.text("PricingCategory"),
        "unit": lines.text("ConsumedUnit", "PricingUnit"),
        "currency": lines.text("BillingCurrency"),
        "invoice_id": lines.text("InvoiceId"),
        "invoice_issuer": lines.text("InvoiceIssuerName"),
        "publisher": lines.text("PublisherName"),
        "period": lines.moment("BillingPeriodStart").str.slice(0, 7),
        "charge_period_start": lines.moment("ChargePeriodStart"),
        "charge_period_end": lines.moment("ChargePeriodEnd"),
        "charge_description": lines.text("ChargeDescription"),
        "billed_cost": billed,
        "effective_cost": lines.money("EffectiveCost"),
        "list_cost": lines.money("ListCost"),
        "contracted_cost": lines.money("ContractedCost"),
        "usage_quantity": lines.quantity("ConsumedQuantity"),
    }


def _cur2(lines: Lines) -> dict[str, pl.Expr]:
    kind = lines.text("line_item_line_item_type")
    return {
        "line_type": kind,
        "charge_category": _category(kind),
        "charge_class": pl.when(kind == "Refund").then(pl.lit("Correction")),
        "charge_frequency": _frequency(kind),
        "billing_account_id": lines.text("bill_payer_account_id"),
        "sub_account_id": lines.text("line_item_usage_account_id"),
        "sub_account_name": lines.text("line_item_usage_account_name"),
        "service_code": lines.text("line_item_product_code"),
        "service_name": lines.text("line_item_product_code"),
        "service_category": pl.lit(None, pl.String),
        "sku_id": lines.text("product_sku"),
        "usage_type": lines.text("line_item_usage_type"),
        "operation": lines.text("line_item_operation"),
        "region": lines.text("product_region_code"),
        "pricing_category": _pricing_category(lines, kind),
        "unit": lines.text("pricing_unit"),
        "currency": lines.text("line_item_currency_code"),
        "invoice_id": lines.text("bill_invoice_id"),
        "invoice_issuer": lines.text("bill_invoicing_entity"),
        "publisher": lines.text("line_item_legal_entity"),
        "period": lines.moment("bill_billing_period_start_date").str.slice(0, 7),
        "charge_period_start": lines.moment("line_item_usage_start_date"),
        "charge_period_end": lines.moment("line_item_usage_end_date"),
        "charge_description": lines.text("line_item_line_item_description"),
        **_cur2_amounts(lines, kind),
        "usage_quantity": lines.quantity("line_item_usage_amount"),
    }


def _cur2_amounts(lines: Lines, kind: pl.Expr) -> dict[str, pl.Expr]:
    unblended = lines.money("line_item_unblended_cost")
    listed = pl.coalesce(lines.money("pricing_public_on_demand_cost"), unblended)
    negation = kind == _NEGATION
    return {
        "billed_cost": unblended,
        "effective_cost": _effective(lines, kind, unblended),
        "list_cost": pl.when(kind.is_in(_USAGE))
        .then(listed)
        .when(negation)
        .then(NOTHING)
        .otherwise(unblended),
        # What it would have cost without the commitment.
        "contracted_cost": pl.when(kind == "DiscountedUsage")
        .then(listed)
        .when(negation)
        .then(NOTHING)
        .otherwise(unblended),
    }


def _effective(lines: Lines, kind: pl.Expr, unblended: pl.Expr) -> pl.Expr:
    def amount(name: str) -> pl.Expr:
        return pl.coalesce(lines.money(name), NOTHING)

    unused = amount("savings_plan_total_commitment_to_date") - amount(
        "savings_plan_used_commitment"
    )
    unused_upfront = amount("reservation_unused_amortized_upfront_fee_for_billing_period")
    of_reservation = (kind == "Fee") & lines.text("reservation_reservation_a_r_n").is_not_null()
    return (
        pl.when(kind == "SavingsPlanCoveredUsage")
        .then(lines.money("savings_plan_savings_plan_effective_cost"))
        .when(kind == "DiscountedUsage")
        .then(lines.money("reservation_effective_cost"))
        .when(kind == "SavingsPlanRecurringFee")
        .then(unused)
        .when(kind == "RIFee")
        .then(unused_upfront + amount("reservation_unused_recurring_fee"))
        .when(kind.is_in([_NEGATION, "SavingsPlanUpfrontFee"]) | of_reservation)
        .then(NOTHING)
        .otherwise(unblended)
    )


def _category(kind: pl.Expr) -> pl.Expr:
    """Return FOCUS 1.2's ChargeCategory; types without another category are an Adjustment."""
    return (
        pl.when(kind.is_in([*_USAGE, _NEGATION]))
        .then(pl.lit("Usage"))
        .when(kind.is_in(_FEES))
        .then(pl.lit("Purchase"))
        .when(kind.is_in(["Tax", "Credit"]))
        .then(kind)
        .when(kind.is_not_null())
        .then(pl.lit("Adjustment"))
    )


def _frequency(kind: pl.Expr) -> pl.Expr:
    return (
        pl.when(kind.is_in([*_USAGE, _NEGATION]))
        .then(pl.lit("Usage-Based"))
        .when(kind.is_in(_RECURRING))
        .then(pl.lit("Recurring"))
        .otherwise(pl.lit("One-Time"))
    )


def _pricing_category(lines: Lines, kind: pl.Expr) -> pl.Expr:
    spot = (lines.text("pricing_term") == "Spot") | lines.text("line_item_usage_type").str.contains(
        "SpotUsage", literal=True
    )
    return (
        pl.when(kind.is_in(_COVERED))
        .then(pl.lit("Committed"))
        .when((kind == "Usage") & spot.fill_null(value=False))
        .then(pl.lit("Dynamic"))
        .when(kind == "Usage")
        .then(pl.lit("Standard"))
    )
