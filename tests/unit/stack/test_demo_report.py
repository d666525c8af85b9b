"""The demo's report: one total for each organization and currency, with its coverage."""

from __future__ import annotations

from datetime import date
from typing import Any

from stack.report import DemoReport, OrgReport, render

ROW = {"day": "2026-11-24", "provider": "openai", "service": "OpenAI API", "model": "gpt-5",
       "basis": "billed", "currency": "USD", "billed_cost": "1.5"}  # fmt: skip
DAY = {"day": "2026-11-24", "stream": "openai/api", "shown": "billed", "bill": "covers"}
COSTS: dict[str, Any] = {
    "rows": [
        ROW,
        {**ROW, "model": "mystery", "billed_cost": None},
        {**ROW, "day": "2026-11-25", "basis": "computed", "billed_cost": "2.25"},
    ],
    "totals": [{"currency": "USD", "billed_cost": "3.75", "expected_cost": "2.25"}],
    "coverage": [
        DAY,
        {**DAY, "day": "2026-11-25", "shown": "computed", "bill": "expected"},
        {**DAY, "day": "2026-11-26", "shown": "none", "bill": "late"},
        {**DAY, "stream": "gcp/billing", "shown": "none", "bill": "not_connected"},
    ],
    "unpriced": [{"day": "2026-11-24", "model": "mystery", "reason": "no_price"}],
}


def test_an_organization_has_one_total_with_its_expected_part_and_its_coverage() -> None:
    org = OrgReport(slug="acme", runs=[], costs=COSTS)
    report = DemoReport(date(2026, 11, 24), date(2026, 11, 26), "http://airflow", [org])
    lines = [" ".join(line.split()) for line in render(report).splitlines()]
    assert "acme total in USD 3.75" in lines
    assert "of it expected, not billed yet 2.25" in lines
    assert "coverage of openai/api: 1 billed, 1 computed, 1 none of 3 days" in lines
    assert "coverage of gcp/billing: 1 not_connected of 1 days" in lines
    assert "sum 3.75" in lines
    assert "no price: 2026-11-24 mystery: no_price" in lines
    assert org.as_json()["totals"] == COSTS["totals"]
