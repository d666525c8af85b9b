"""The cost of a run to its operator: the resources it used, at the cloud's list prices."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from convergence.config_files import Strict, read_config
from convergence.metering import Resource, Use, Used
from convergence.runs.log_rows import record_name
from convergence.settings import get_settings
from convergence.state.org_runs import OrgRun
from convergence.warehouse.day_file import Money

COST_LOG: Final = "org_cost_tracking"
_STEP: Final = Decimal("1e-9")
_MEBIBYTE: Final = Decimal(2**20)
_TEBIBYTE: Final = Decimal(2**40)
_MILLION: Final = Decimal(10**6)


class ResourceRate(Strict):
    """The price of one resource."""

    per_tebibyte_billed: Decimal = Field(default=Decimal(0), ge=0)
    per_mebibyte_billed: Decimal = Field(default=Decimal(0), ge=0)
    per_million_calls: Decimal = Field(default=Decimal(0), ge=0)

    def compute_cost(self, use: Use) -> Decimal:
        """Return the exact cost of a use."""
        return (
            self.per_tebibyte_billed * use.bytes_billed / _TEBIBYTE
            + self.per_mebibyte_billed * use.bytes_billed / _MEBIBYTE
            + self.per_million_calls * use.calls / _MILLION
        )


class RunCostRates(Strict):
    """`include/configs/system/run_costs.yml`."""

    currency: str = Field(pattern=r"^[A-Z]{3}$")
    rates: Mapping[Resource, ResourceRate]

    def estimate(self, used: Used) -> Money:
        """Return the cost of all uses together, rounded to 9 decimals."""
        exact = sum(
            (self.rates[one].compute_cost(use) for one, use in used.items() if one in self.rates),
            Decimal(0),
        )
        return Money(self.currency, "list", exact.quantize(_STEP, ROUND_HALF_UP))


def load_run_cost_rates() -> RunCostRates:
    """Load the cloud's list prices.

    Raises:
        ConfigurationError: the file is missing or wrong.
    """
    return _read_rates(get_settings().configs_dir / "system" / "run_costs.yml")


@lru_cache(maxsize=8)
def _read_rates(path: Path) -> RunCostRates:
    return read_config(path, RunCostRates)


def build_cost_rows(
    run: OrgRun, *, step: str, used: Used, now: datetime
) -> Iterable[dict[str, Any]]:
    """Build rows of `org_cost_tracking`: one per resource that an attempt at a step used."""
    rates = load_run_cost_rates()
    for resource, use in used.items():
        cost = rates.estimate({resource: use})
        yield {
            "org_slug": run.org_slug,
            "event_id": uuid.uuid4().hex,
            "run_id": run.run_id,
            "pipeline_id": record_name(run),
            "step": step,
            "resource": resource.value,
            "calls": use.calls,
            "retries": use.retries,
            "pages": use.pages,
            "bytes_received": use.bytes_received,
            "bytes_billed": use.bytes_billed,
            "slot_ms": use.slot_ms,
            "rows_written": use.rows_written,
            "estimated_cost": cost.amount,
            "estimated_currency": cost.currency,
            "recorded_at": now,
        }


def summarize_cost(used: Used) -> dict[str, Any]:
    """Summarize used resources for run details and summaries; the amount is text."""
    warehouse = {one: used.get(one, Use()) for one in _WAREHOUSE}
    provider = used.get(Resource.PROVIDER, Use())
    cost = load_run_cost_rates().estimate(used)
    return {
        "bytes_billed": sum(use.bytes_billed for use in warehouse.values()),
        "slot_ms": sum(use.slot_ms for use in warehouse.values()),
        "jobs": {name: warehouse[one].calls for one, name in _WAREHOUSE.items()},
        "provider": {
            "requests": provider.calls,
            "retries": provider.retries,
            "pages": provider.pages,
            "bytes": provider.bytes_received,
        },
        "estimated_cost": format(cost.amount, "f"),
        "currency": cost.currency,
    }


_WAREHOUSE: Final[Mapping[Resource, str]] = {
    Resource.LOAD: "load",
    Resource.QUERY: "query",
    Resource.STREAM: "stream",
}
