"""What the data contract says of each table of an org's dataset, next to its schema file."""

from __future__ import annotations

from typing import NamedTuple


class ContractTable(NamedTuple):
    """One table's entry.

    Attributes:
        name: the table; `{provider}_{stream}_authoritative_daily` stands for one of each stream.
        schema: its schema file below `include/configs`; behind `#` a template within the file.
        grain: what one row is.
        key: the columns that identify a row, NULL included; `-` without one.
        freshness: when a day appears, and until when it may change.
        stability: stable, or detail for tables whose columns follow the source.
    """

    name: str
    schema: str
    grain: str
    key: str
    freshness: str
    stability: str


_DAILY = "yesterday, by the pipeline's daily run"
_STABLE = "stable"
_DETAIL = "detail: columns follow the source"
_COST = "until the bill covers the day, or 90 days"

TABLES = (
    ContractTable(
        "{provider}_{stream}_authoritative_daily",
        "system/schemas/authoritative_daily.json",
        "one charge of one cost stream on one UTC day; a published day without cost has one row "
        "with `x_Shown = 'zero'`",
        "-",
        f"{_DAILY}; {_COST}",
        _STABLE,
    ),
    ContractTable(
        "{provider}_{stream}_reconciliation_daily",
        "system/schemas/reconciliation_daily.json",
        "one SKU and meter of a sub-account on one UTC day in one currency, bill against computed",
        "the day, the stream, the sub-account, the SKU, the meter and the currency",
        "as its two sides",
        _STABLE,
    ),
    ContractTable(
        "openai_cost_daily",
        "openai/cost/schemas/openai_cost_daily.json",
        "one usage row with its price",
        "the day and every dimension",
        f"{_DAILY}; 3 days",
        _DETAIL,
    ),
    ContractTable(
        "openai_billed_daily",
        "openai/cost/schemas/openai_billed_daily.json",
        "one line of OpenAI's bill: day, project, API key and line item",
        "the day, the project, the API key, the line item and the currency",
        f"{_DAILY}; 3 days",
        _DETAIL,
    ),
    ContractTable(
        "openai_usage_daily_raw",
        "openai/cost/schemas/openai_usage_daily_raw.json",
        "one result of a daily bucket of a usage endpoint",
        "the day, the endpoint and every dimension",
        f"{_DAILY}; 3 days",
        _DETAIL,
    ),
    ContractTable(
        "openai_subscriptions_monthly",
        "openai/schemas/openai_subscriptions_monthly.json",
        "one plan and period of a month in which neither seats nor price changed",
        "the month, the plan and the first day of the period",
        "by the monthly run, and whenever seats change",
        _DETAIL,
    ),
    ContractTable(
        "openai_model_pricing",
        "openai/seed/schemas/openai_model_pricing.json",
        "one price of a model and tier from a day on",
        "model, tier, first day, and whether it is the org's own",
        "with an edition of the price book, or a change by the org",
        _DETAIL,
    ),
    ContractTable(
        "openai_subscriptions",
        "openai/seed/schemas/openai_subscriptions.json",
        "one plan with its seats from a day on",
        "plan, first day, and whether it is the org's own",
        "with a change by the org",
        _DETAIL,
    ),
    ContractTable(
        "anthropic_cost_daily",
        "anthropic/cost/schemas/anthropic_cost_daily.json",
        "one usage row with its price",
        "the day and every dimension",
        f"{_DAILY}; 3 days",
        _DETAIL,
    ),
    ContractTable(
        "anthropic_billed_daily",
        "anthropic/cost/schemas/anthropic_billed_daily.json",
        "one line of Anthropic's bill",
        "the day and every dimension",
        f"{_DAILY}; 3 days",
        _DETAIL,
    ),
    ContractTable(
        "anthropic_usage_daily_raw",
        "anthropic/cost/schemas/anthropic_usage_daily_raw.json",
        "one combination of dimensions of a day",
        "the day and every dimension",
        f"{_DAILY}; 3 days",
        _DETAIL,
    ),
    ContractTable(
        "anthropic_model_pricing",
        "anthropic/seed/schemas/anthropic_model_pricing.json",
        "one price of a model, tier and context window from a day on",
        "model, tier, window, first day, and whether it is the org's own",
        "with an edition of the price book, or a change by the org",
        _DETAIL,
    ),
    ContractTable(
        "deepseek_balance_daily",
        "deepseek/schemas/deepseek_balance_daily.json",
        "one currency's balance of a day",
        "the day and the currency",
        "on the day itself; it never changes, and a missed day never comes",
        _DETAIL,
    ),
    ContractTable(
        "billing_cost_daily",
        "gcp/bq_etl/schema_template.json#billing_cost",
        "the sum of a day's lines of Google's export with equal dimensions",
        "the day and every dimension",
        f"{_DAILY}; later lines and corrections change it whenever they arrive",
        _DETAIL,
    ),
    ContractTable(
        "gcp_billing_daily_raw",
        "gcp/bq_etl/schema_template.json#default",
        "one line of Google's export",
        "-",
        f"{_DAILY}; later lines and corrections change it whenever they arrive",
        _DETAIL,
    ),
    ContractTable(
        "gcp_billing_accounts_raw",
        "gcp/api/schemas/gcp_billing_accounts_raw.json",
        "one billing account as seen on a day",
        "the day and the account",
        "on the day itself",
        _DETAIL,
    ),
    ContractTable(
        "aws_cost_daily",
        "aws/cost/schemas/aws_cost_daily.json",
        "the sum of a day's lines of AWS's export with equal dimensions",
        "the day and every dimension",
        f"{_DAILY}; an open month is rewritten as a whole, a closed one until its invoice",
        _DETAIL,
    ),
    ContractTable(
        "aws_export_files",
        "aws/cost/schemas/aws_export_files.json",
        "one file of a billing period as it was when the period was last loaded",
        "the period and the file",
        "with each load",
        _DETAIL,
    ),
    ContractTable(
        "org_onboarding_validation",
        "setup/organizations/onboarding/schemas/org_onboarding_validation.json",
        "one check of one onboarding",
        "the run and the check",
        "with each onboarding",
        _DETAIL,
    ),
)

VIEWS = {
    "cost_daily": "Every stream's authoritative rows: the columns, grain and keys of "
    "`{provider}_{stream}_authoritative_daily`. The sum of `BilledCost` within one "
    "`BillingCurrency`, where `x_Money = 'charge'`, is what the invoices show. **Start here.**",
    "cost_daily_by_basis": "Every source of cost, with the bill and the computed cost of the same "
    "usage as rows of their own: never add across `x_Basis`. For comparison only.",
    "cost_reconciliation_daily": "Every stream's comparison of bill and computed cost: the columns "
    "of `{provider}_{stream}_reconciliation_daily`. The amounts of a row's reasons add up to its "
    "difference.",
    "org_comprehensive_view": "`cost_daily` summed by day, stream, basis, state and currency.",
    "{provider}_…_source": "One source's part of `cost_daily_by_basis`; not for queries.",
}
"""Views of an org's dataset."""
