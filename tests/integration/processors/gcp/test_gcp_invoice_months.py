"""The headline of Google's bill by month is what the invoices show, whatever the days of usage."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from convergence.api.costs.reading import CostQuery, read_costs
from convergence.api.http.services import ApiServices
from convergence.processors.costs.config import AuthoritativeConfig
from convergence.processors.costs.publishing import publish_streams
from convergence.processors.gcp.config import BqEtlConfig
from support.processor_env import OrgEnv
from support.vendors.gcp_customer import Customer, golden_rows, golden_totals
from support.vendors.gcp_steps import run_steps

FIRST, LAST = date(2026, 10, 1), date(2026, 11, 30)


def read_months(org: OrgEnv, start: date, end: date, *more: str) -> dict[str, Decimal]:
    """Return the headline by billing month and other dimensions, joined by a blank."""
    services = ApiServices(org.env.settings)
    costs = read_costs(CostQuery(org.slug, start, end, ("billing_month", *more)), services=services)
    services.store.close()
    services.warehouse.client.close()
    return {
        " ".join(row[name] for name in ("billing_month", *more)): Decimal(row["billed_cost"])
        for row in costs["rows"]
    }


def test_the_headline_by_billing_month_is_that_of_the_invoices(
    account: OrgEnv, customer: Customer
) -> None:
    customer.export(golden_rows())
    run_steps(account, config=BqEtlConfig(overlap_days=30))
    publish_streams(account.context([]), AuthoritativeConfig(streams=("gcp/billing",)))
    expected = golden_totals()
    invoices = {
        f"{month[:4]}-{month[4:]}": Decimal(amount)
        for month, amount in expected["net_by_invoice_month"].items()
    }
    assert read_months(account, FIRST, LAST) == invoices
    # Usage and credits of October are on November's invoice: November's days alone are not it.
    late = Decimal(expected["corrections_and_late_on_202611"]["total"])
    november = read_months(account, date(2026, 11, 1), LAST)
    assert november["2026-11"] == invoices["2026-11"] - late
    by_category = read_months(account, FIRST, LAST, "charge_category")
    tax = sum(cost for name, cost in by_category.items() if name.endswith(" Tax"))
    assert tax == Decimal(expected["gross_by_cost_type"]["tax"])
    assert sum(by_category.values()) == Decimal(expected["net_total"])
