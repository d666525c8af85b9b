"""Polars expressions that turn a line of either export into columns of `aws_cost_daily`.

Money is read from its text to 18 decimals, never through a float: CSV holds text; Parquet holds
doubles, which are taken at their shortest decimal form, the one that reads back as the same double
(what AWS itself lost before is lost). Amounts that are neither blank nor a number are counted.

`line_costs` says what a line of CUR 2.0 costs.
"""

from __future__ import annotations

import polars as pl

from convergence.processors.aws.columns import Kind
from convergence.processors.aws.line_costs import (
    COVERED,
    build_amounts,
    build_category,
    build_commitment_id,
    build_commitment_kind,
    build_frequency,
    build_pricing_category,
)
from convergence.processors.aws.line_reader import Lines


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
        "region_name": lines.text("RegionName"),
        "availability_zone": lines.text("AvailabilityZone"),
        "resource_id": lines.text("ResourceId"),
        "resource_name": lines.text("ResourceName"),
        "resource_type": lines.text("ResourceType"),
        "tags": lines.pairs("Tags"),
        "cost_categories": pl.lit(None, pl.String),
        "commitment_id": lines.text("CommitmentDiscountId"),
        "commitment_type": lines.text("CommitmentDiscountType"),
        "commitment_category": lines.text("CommitmentDiscountCategory"),
        "commitment_status": lines.text("CommitmentDiscountStatus"),
        "pricing_category": lines.text("PricingCategory"),
        "unit": lines.text("ConsumedUnit", "PricingUnit"),
        "currency": lines.text("BillingCurrency").str.to_uppercase(),
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
        "charge_category": build_category(kind),
        "charge_class": pl.when(kind == "Refund").then(pl.lit("Correction")),
        "charge_frequency": build_frequency(kind),
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
        "region_name": lines.text("product_location"),
        "availability_zone": lines.text("line_item_availability_zone"),
        "resource_id": lines.text("line_item_resource_id"),
        "resource_name": pl.lit(None, pl.String),
        "resource_type": pl.lit(None, pl.String),
        "tags": lines.pairs("resource_tags", "tags"),
        "cost_categories": lines.pairs("cost_category"),
        "commitment_id": build_commitment_id(lines),
        "commitment_type": build_commitment_kind(
            lines, plan="Savings Plan", reservation="Reserved Instance"
        ),
        "commitment_category": build_commitment_kind(lines, plan="Spend", reservation="Usage"),
        "commitment_status": pl.when(kind.is_in(COVERED)).then(pl.lit("Used")),
        "pricing_category": build_pricing_category(lines, kind),
        "unit": lines.text("pricing_unit"),
        "currency": lines.text("line_item_currency_code").str.to_uppercase(),
        "invoice_id": lines.text("bill_invoice_id"),
        "invoice_issuer": lines.text("bill_invoicing_entity"),
        "publisher": lines.text("line_item_legal_entity"),
        "period": lines.moment("bill_billing_period_start_date").str.slice(0, 7),
        "charge_period_start": lines.moment("line_item_usage_start_date"),
        "charge_period_end": lines.moment("line_item_usage_end_date"),
        "charge_description": lines.text("line_item_line_item_description"),
        **build_amounts(lines, kind),
    }
