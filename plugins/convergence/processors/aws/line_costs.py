"""What a line of CUR 2.0 costs, as Polars expressions.

CUR 2.0 has one line per charge and no FOCUS columns. From
https://docs.aws.amazon.com/cur/latest/userguide/cur-ri-line-items.html and …/cur-sp.html:

| line type                | billed    | effective                             | list             |
|--------------------------|-----------|---------------------------------------|------------------|
| Usage                    | unblended | unblended                             | public on demand |
| DiscountedUsage          | 0 (RI)    | reservation's effective cost          | public on demand |
| SavingsPlanCoveredUsage  | unblended | savings plan's effective cost         | public on demand |
| SavingsPlanNegation      | -unblended| 0                                     | 0                |
| SavingsPlanRecurringFee  | unblended | 0                                     | unblended        |
| … its unused part        | 0         | commitment - what was used of it      | 0                |
| SavingsPlanUpfrontFee    | unblended | 0                                     | unblended        |
| RIFee                    | unblended | 0                                     | unblended        |
| … its unused part        | 0         | unused upfront + unused recurring fee | 0                |
| Fee of a reservation     | unblended | 0                                     | unblended        |
| Refund of a fee paid ahead | unblended | 0                                   | unblended        |
| Fee, Tax, Credit, Refund, discounts | unblended | unblended                  | unblended        |

Billed cost is the unblended cost of every line, negations too: so it adds up to the bill to the
last digit, and covered usage and its negation cancel each other out. Effective cost spreads what
was paid ahead over what it covers; what nobody used is a row of its own.

A returned Savings Plan or reservation is refunded by a line "Refund for one-time fee …", which need
not name the plan. Its fee has no effective cost, so neither has its refund; AWS recalculates the
usage that the plan had covered. Refunds of contract discounts, which may also be attributed to the
product of the plans, and of recurring fees stay. Source:
https://github.com/aws-solutions-library-samples/cloud-intelligence-dashboards-framework/pull/1515.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from convergence.processors.aws.line_reader import MONEY, Lines

NOTHING: Final = pl.lit(0).cast(MONEY)

_USAGE: Final = ("Usage", "DiscountedUsage", "SavingsPlanCoveredUsage")
COVERED: Final = ("DiscountedUsage", "SavingsPlanCoveredUsage")
RECURRING: Final = ("RIFee", "SavingsPlanRecurringFee")
"""Fees whose unused part becomes a row of its own."""
_FEES: Final = (*RECURRING, "SavingsPlanUpfrontFee", "Fee")
NEGATION: Final = "SavingsPlanNegation"
_ONE_TIME_REFUND: Final = "Refund for one-time fee"
_OTHER_REFUND: Final = "(?i)discount|edp|enterprise|program|recurring"
"""Words in the description of a refund that returns no fee paid ahead."""

LINE_TYPES: Final = frozenset({*_USAGE, *_FEES, NEGATION, "Tax", "Credit", "Refund"})
"""Documented line types; types that end with Discount are documented too."""


def build_amounts(lines: Lines, kind: pl.Expr) -> dict[str, pl.Expr]:
    """Return the amounts and the quantity of a line; `kind` is its line item type."""
    unblended = lines.money("line_item_unblended_cost")
    listed = pl.coalesce(lines.money("pricing_public_on_demand_cost"), unblended)
    negation = kind == NEGATION
    quantity = lines.quantity("line_item_usage_amount")
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
        # A negation repeats the quantity of the usage that it negates.
        "usage_quantity": pl.when(~negation).then(quantity),
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
        .when(kind.is_in([NEGATION, "SavingsPlanUpfrontFee"]) | of_reservation)
        .then(NOTHING)
        .when(_returns_a_purchase(lines, kind))
        .then(NOTHING)
        .otherwise(unblended)
    )


def split_unused(lines: pl.LazyFrame, *, counted: Sequence[str]) -> pl.LazyFrame:
    """Give the unused part of each recurring fee a row of its own.

    Args:
        lines: the table's columns of each line.
        counted: columns that count lines; they count the fee only.
    """
    unused = (
        lines.filter(pl.col("line_type").is_in(RECURRING), pl.col("effective_cost") != NOTHING)
        .with_columns(pl.lit(0).cast(pl.Int64).alias(name) for name in counted)
        .with_columns(
            *(NOTHING.alias(name) for name in ("billed_cost", "list_cost", "contracted_cost")),
            usage_quantity=NOTHING,
            charge_category=pl.lit("Usage"),
            charge_frequency=pl.lit("Usage-Based"),
            pricing_category=pl.lit("Committed"),
            commitment_status=pl.lit("Unused"),
        )
    )
    fee = pl.col("line_type").is_in(RECURRING).fill_null(value=False)
    used = lines.with_columns(
        *(pl.col(name).cast(pl.Int64) for name in counted),
        effective_cost=pl.when(fee).then(NOTHING).otherwise(pl.col("effective_cost")),
    )
    return pl.concat([used, unused])


def build_commitment_id(lines: Lines) -> pl.Expr:
    """Return the ARN of the Savings Plan or reservation that a line belongs to."""
    return pl.coalesce(
        lines.text("savings_plan_savings_plan_a_r_n"), lines.text("reservation_reservation_a_r_n")
    )


def build_commitment_kind(lines: Lines, *, plan: str, reservation: str) -> pl.Expr:
    """Return one of two words, by whether a line belongs to a Savings Plan or a reservation."""
    return (
        pl.when(lines.text("savings_plan_savings_plan_a_r_n").is_not_null())
        .then(pl.lit(plan))
        .when(lines.text("reservation_reservation_a_r_n").is_not_null())
        .then(pl.lit(reservation))
    )


def _returns_a_purchase(lines: Lines, kind: pl.Expr) -> pl.Expr:
    description = lines.text("line_item_line_item_description").fill_null("")
    of_commitment = build_commitment_id(lines).is_not_null()
    return (kind == "Refund") & (
        description.str.starts_with(_ONE_TIME_REFUND)
        | (of_commitment & ~description.str.contains(_OTHER_REFUND))
    )


def build_category(kind: pl.Expr) -> pl.Expr:
    """FOCUS 1.2's ChargeCategory; what it has no other name for is an Adjustment."""
    return (
        pl.when(kind.is_in([*_USAGE, NEGATION]))
        .then(pl.lit("Usage"))
        .when(kind.is_in(_FEES))
        .then(pl.lit("Purchase"))
        .when(kind.is_in(["Tax", "Credit"]))
        .then(kind)
        .when(kind.is_not_null())
        .then(pl.lit("Adjustment"))
    )


def build_frequency(kind: pl.Expr) -> pl.Expr:
    """Return FOCUS' ChargeFrequency of a line item type."""
    return (
        pl.when(kind.is_in([*_USAGE, NEGATION]))
        .then(pl.lit("Usage-Based"))
        .when(kind.is_in(RECURRING))
        .then(pl.lit("Recurring"))
        .otherwise(pl.lit("One-Time"))
    )


def build_pricing_category(lines: Lines, kind: pl.Expr) -> pl.Expr:
    """Return FOCUS' PricingCategory; null where nothing was used."""
    spot = (lines.text("pricing_term") == "Spot") | lines.text("line_item_usage_type").str.contains(
        "SpotUsage", literal=True
    )
    return (
        pl.when(kind.is_in(COVERED))
        .then(pl.lit("Committed"))
        .when((kind == "Usage") & spot.fill_null(value=False))
        .then(pl.lit("Dynamic"))
        .when(kind == "Usage")
        .then(pl.lit("Standard"))
    )
