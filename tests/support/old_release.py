"""The data directory that an old release left, made by `scripts/old_release.py`."""

from __future__ import annotations

import json
import tarfile
from collections import defaultdict
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "data" / "old_release"
GROUPING = "day,provider,service,model"


@cache
def recorded() -> dict[str, Any]:
    """What the old release's API said of the one organization, and for which days."""
    document = json.loads((FOLDER / "recorded.json").read_text())
    (org,) = document["organizations"]
    days = {"start_date": document["start_date"], "end_date": document["end_date"]}
    return {**org, "query": {**days, "group_by": GROUPING}, "days": days}


def unpack(var_dir: Path) -> str:
    """Unpack the directory into `var_dir` and return the organization's API key."""
    with tarfile.open(FOLDER / "data.tar.xz") as packed:
        packed.extractall(var_dir, filter="data")
    keys: dict[str, str] = json.loads((var_dir / "secrets" / "demo_keys.json").read_text())
    return keys[recorded()["org_slug"]]


def assert_costs_include(costs: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare a response about cost with that of the old release, whose fields are still there."""
    for name, value in expected.items():
        if name == "rows":
            rows = zip(value, costs[name], strict=True)
            assert [{field: row[field] for field in old} for old, row in rows] == value
        elif name == "totals":
            assert _sum_by_currency(costs[name]) == _sum_by_currency(value)
        elif name not in {"basis", "currency"}:
            # One total has both bases now.
            assert costs[name] == value, name


def _sum_by_currency(totals: list[dict[str, str]]) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for total in totals:
        sums[total["currency"]] += Decimal(total["cost"])
    return sums
