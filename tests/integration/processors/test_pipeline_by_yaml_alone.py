"""A new vendor's REST API to a checked daily cost, by files of configuration and no Python."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from convergence.errors import ExpectationsNotMetError
from convergence_sandbox.providers.vendor import build_usage, users
from support import custom_configs
from support.pipeline_steps import Job, endpoints, run_steps
from support.processor_env import NOW, OrgEnv
from support.sandbox_process import SandboxProcess

YESTERDAY = NOW.date() - timedelta(days=1)
PATH = "seats_vendor/seats_cost.yml"
PIPELINE = f"""\
pipeline_id: seats-cost
description: Who uses a seat at the vendor, and what the seats cost
provider: {custom_configs.VENDOR}
schedule: "30 0 * * *"
steps:
  - step: extract_users
    processor: generic.api_extractor
    config:
      url: {custom_configs.BASE}/link-body/users
      auth: {{type: header, header_name: X-API-Key, provider: SEATS_VENDOR}}
      pagination: {{type: link, response_path: links.next, limit: 5}}
      data_path: data
      fields: {{is_active: active}}
      destination: {{table: seats_users_raw, batch_size: 20, unique_by: [id]}}
      rate_limit: {{requests_per_second: 500}}
  - step: transform_cost
    processor: generic.local_bq_transformer
    config:
      sql_file: seats_vendor/sql/price_seats.sql
      destination:
        table: seats_cost_daily
        schema_file: seats_vendor/schemas/seats_cost_daily.json
      reads: {{users: seats_users_raw}}
      params:
        currency: USD
        price: {{type: NUMERIC, value: "0.66"}}
      totals_file: seats_vendor/sql/totals.sql
  - step: validate_cost
    processor: quality.expectations
    config: {{suite: data_quality/expectations/seats_suite.json}}
notify: {{on_failure: [email], on_success: [slack]}}
lookback_days: 0
history_days: 0
"""
PRICE = """\
SELECT seen_on AS usage_date, is_active, COUNT(*) AS users, SUM(seats) AS seats,
  @currency AS currency, SUM(IF(is_active, seats, 0)) * @price AS cost
FROM `{{ project }}.{{ dataset }}.{{ users }}`
WHERE seen_on = @day
GROUP BY seen_on, is_active
"""
TOTALS = """\
SELECT currency, 'computed' AS basis, SUM(cost) AS amount
FROM `{{ project }}.{{ dataset }}.{{ destination }}`
WHERE usage_date = @day
GROUP BY currency
"""
COST_SCHEMA = {
    "table": "seats_cost_daily",
    "description": "What the vendor's seats cost per day",
    "partition": {"field": "usage_date", "type": "DAY", "require_filter": False},
    "fields": [
        {"name": "usage_date", "type": "DATE", "description": "UTC day"},
        {"name": "is_active", "type": "BOOL", "description": "Whether the users are active"},
        {"name": "users", "type": "INT64", "description": "Users"},
        {"name": "seats", "type": "INT64", "description": "Their seats"},
        {"name": "currency", "type": "STRING", "description": "ISO 4217 code"},
        {"name": "cost", "type": "NUMERIC", "description": "Cost of the seats of active users"},
    ],
}
SUITE: dict[str, Any] = {
    "description": "No seat is lost between the users and what they cost",
    "tables": {
        "seats_users_raw": "seats_vendor/schemas/seats_users_raw.json",
        "seats_cost_daily": "seats_vendor/schemas/seats_cost_daily.json",
    },
    "expectations": [
        {
            "id": "seats_tie",
            "severity": "stop",
            "expect": "sums_tie",
            "left": {"table": "seats_cost_daily", "columns": ["seats"]},
            "right": {"table": "seats_users_raw", "columns": ["seats"]},
        }
    ],
}
FILES: dict[str, object] = {
    PATH: PIPELINE,
    "seats_vendor/sql/price_seats.sql": PRICE,
    "seats_vendor/sql/totals.sql": TOTALS,
    "seats_vendor/schemas/seats_cost_daily.json": COST_SCHEMA,
    "data_quality/expectations/seats_suite.json": SUITE,
}


class Author:
    """Who wrote the files, and an org that is a customer of the vendor."""

    def __init__(self, org: OrgEnv, sandbox: SandboxProcess, folder: Path) -> None:
        self.sandbox = sandbox
        self.folder = folder
        self.changes = {
            "provider_base_urls": {custom_configs.VENDOR: f"{sandbox.providers}/vendor/v1"}
        }
        self.write()
        self.org = org.served_by(configs_dir=folder, **self.changes)
        org.env.keys[org.slug] = f"vendor-sandbox-{org.slug}"

    def write(self, **files: object) -> None:
        custom_configs.make(self.folder, {**FILES, **files})

    @property
    def users(self) -> list[dict[str, Any]]:
        return [dict(row) for row in users(self.org.slug)]

    def job(self, *, attempt: int) -> Job:
        env = self.org.env
        return Job(
            sandbox=endpoints(self.sandbox),
            project=env.settings.gcp_project_id,
            var_dir=str(env.settings.var_dir),
            settings={"configs_dir": str(self.folder), **self.changes},
            org_slug=self.org.slug,
            key=env.keys[self.org.slug],
            path=PATH,
            days=[YESTERDAY.isoformat()],
            attempt=attempt,
        )

    def requests(self) -> int:
        served = httpx.get(f"{self.sandbox.providers}/_sandbox/requests", trust_env=False).json()
        four = self.org.slug[-4:]
        return len([row for row in served if row["credential_last_four"] == four])

    def cost(self) -> dict[bool, Decimal]:
        return {row["is_active"]: row["cost"] for row in self.org.rows("seats_cost_daily")}

    def assert_exact(self) -> None:
        active = sum(user["seats"] for user in self.users if user["active"])
        assert self.cost() == {True: active * Decimal("0.66"), False: Decimal(0)}
        kept = self.org.rows("seats_users_raw", "ORDER BY id")
        assert [row["id"] for row in kept] == [user["id"] for user in self.users]


@pytest.fixture
def author(org: OrgEnv, sandbox: SandboxProcess, tmp_path: Path) -> Iterator[Author]:
    yield Author(org, sandbox, tmp_path / "configs")
    httpx.delete(f"{sandbox.providers}/_sandbox/faults", trust_env=False)


def test_extracted_typed_priced_and_checked(author: Author) -> None:
    results = run_steps(author.org, PATH, [YESTERDAY])
    author.assert_exact()
    assert results["extract_users"].rows_processed == len(author.users)
    assert results["transform_cost"].details["bytes_estimated"] > 0
    assert results["validate_cost"].status == "SUCCESS"
    rows = author.org.env.services.ledger.read_latest(
        orgs=[author.org.slug], pipeline_id="seats-cost"
    )
    totals = {key.table: row.totals for key, row in rows.items()}
    assert [money.amount for money in totals["seats_cost_daily"]] == [sum(author.cost().values())]


def test_running_it_again_changes_nothing(author: Author) -> None:
    run_steps(author.org, PATH, [YESTERDAY])
    again = run_steps(author.org, PATH, [YESTERDAY], run_id="run_2")
    for step in ("extract_users", "transform_cost"):
        assert (again[step].details["days_published"], again[step].details["days_unchanged"]) == (
            0,
            1,
        )
    author.assert_exact()


@pytest.mark.parametrize("after", [3, 27])
def test_a_worker_killed_in_the_middle_is_gone_on_from(author: Author, after: int) -> None:
    killed = author.job(attempt=1).start()
    deadline = time.monotonic() + 60
    while author.requests() < after and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=30)
    assert killed.returncode == -signal.SIGKILL
    asked = author.requests()
    author.job(attempt=2).run()
    author.assert_exact()
    pages = -(-len(author.users) // 5)
    # Four pages at most were held in memory, and one was on its way.
    assert pages <= author.requests() <= pages + 5
    assert asked >= after


def test_a_check_that_is_not_met_stops_the_run(author: Author) -> None:
    run_steps(author.org, PATH, [YESTERDAY])
    broken = PRICE.replace("SUM(seats) AS seats", "SUM(seats) + 1 AS seats")
    (author.folder / "seats_vendor/sql/price_seats.sql").write_text(broken)
    with pytest.raises(ExpectationsNotMetError):
        run_steps(author.org, PATH, [YESTERDAY], run_id="run_2")


def test_the_shipped_example_prices_every_row_or_says_why_not(
    org: OrgEnv, sandbox: SandboxProcess
) -> None:
    org.env.keys[org.slug] = f"vendor-sandbox-{org.slug}"
    days = [date(2026, 11, 18), date(2026, 11, 19)]
    results = run_steps(org, "example/usage/example_elt_pipeline.yml", days)
    used: list[dict[str, Any]] = [dict(row) for day in days for row in build_usage(org.slug, day)]
    prices = {"search": "0.0025", "storage": "0.023", "compute": "0.000016667"}
    expected = {
        row["id"]: round(Decimal(row["quantity"]) * Decimal(prices[row["meter"]]), 9)
        for row in used
        if row["meter"] in prices
    }
    rows = org.rows("vendor_cost_daily")
    assert len(rows) == len(used)
    priced = [row["effective_cost"] for row in rows if row["pricing_status"] == "PRICED"]
    assert sum(priced) == sum(expected.values())
    unpriced = {row["unpriced_reason"] for row in rows if row["pricing_status"] == "UNPRICED"}
    assert unpriced == {"no price for the meter"}
    assert results["validate_cost"].status == "SUCCESS"
    shown = org.rows("cost_daily_by_basis", "WHERE x_Provider = 'vendor_api'")
    assert sum(row["EffectiveCost"] or 0 for row in shown) == sum(expected.values())
