"""An org whose bill and usage come from the sandbox, with bill effects of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import httpx

from support.pipeline_steps import run_steps
from support.processor_env import OrgEnv
from support.sandbox_process import SandboxProcess

Steps = tuple[tuple[str, str], ...]
_OPENAI, _ANTHROPIC = "openai/cost", "anthropic/usage_cost.yml"
USAGE_STEPS: Mapping[str, Steps] = {
    "openai": (
        ("openai/seed_csv.yml", ""),
        (f"{_OPENAI}/usage_cost.yml", "extract_usage"),
        (f"{_OPENAI}/usage_cost.yml", "transform_cost"),
    ),
    "anthropic": (
        (_ANTHROPIC, "load_default_prices"),
        (_ANTHROPIC, "extract_usage"),
        (_ANTHROPIC, "transform_cost"),
    ),
}
BILL_STEPS: Mapping[str, Steps] = {
    "openai": ((f"{_OPENAI}/cost_extract.yml", "extract_billed"),),
    "anthropic": ((_ANTHROPIC, "extract_billed"),),
}
COMPARE_STEPS: Mapping[str, Steps] = {
    provider: ((path, "publish_costs"), (path, "publish_reconciliation"))
    for provider, path in (("openai", f"{_OPENAI}/cost_extract.yml"), ("anthropic", _ANTHROPIC))
}
KEYS = {"openai": "sk-admin-sandbox-{}", "anthropic": "sk-ant-admin-sandbox-{}"}


class BilledOrg:
    """One org of the sandbox's OpenAI or Anthropic.

    Attributes:
        org: the org, at a time of its own.
        days: its days, newest last.
        provider: openai or anthropic.
        seed: the organization of the sandbox; the same seed has the same usage in any process.
    """

    def __init__(
        self,
        org: OrgEnv,
        sandbox: SandboxProcess,
        days: Sequence[date],
        *,
        seed: str,
        provider: str = "openai",
    ) -> None:
        self.org = org
        self.days = list(days)
        self.provider = provider
        self.seed = seed
        self._url = f"{sandbox.providers}/_sandbox/bill_effects"
        self._runs = 0
        org.env.keys[org.slug] = KEYS[provider].format(seed)

    def add_effect(self, name: str, **fields: Any) -> None:
        effect = {"org": self.seed, "provider": self.provider, "name": name, **fields}
        response = httpx.post(self._url, json=effect, timeout=10)
        assert response.status_code == 201, response.text

    def read_usage(self) -> None:
        self._run(USAGE_STEPS[self.provider])

    def read_bill(self) -> None:
        self._run(BILL_STEPS[self.provider])

    def reconcile(self) -> Mapping[str, Any]:
        """Publish what is due and return the details of the reconciling step."""
        streams: Mapping[str, Mapping[str, Any]] = self._run(COMPARE_STEPS[self.provider])[
            "streams"
        ]
        return streams[f"{self.provider}/api"]

    def _run(self, steps: Steps) -> Mapping[str, Any]:
        """Run steps of the shipped pipelines; return the last one's details."""
        details: Mapping[str, Any] = {}
        for path, step in steps:
            self._runs += 1
            found = run_steps(
                self.org, path, self.days, run_id=f"run_{self._runs}", only=step or None
            )
            details = list(found.values())[-1].details
        return details

    def compare(self) -> list[dict[str, Any]]:
        """Read usage and bill, and return the compared rows."""
        self.read_usage()
        self.read_bill()
        self.reconcile()
        return self.org.rows("cost_reconciliation_daily")

    def read_caused(self, **query: str) -> list[dict[str, Any]]:
        """Return what the sandbox says each effect has caused."""
        params = {
            "org": self.seed,
            "provider": self.provider,
            "first_day": self.days[0].isoformat(),
            "last_day": self.days[-1].isoformat(),
            **query,
        }
        response = httpx.get(f"{self._url}/amounts", params=params, timeout=30)
        amounts: list[dict[str, Any]] = response.raise_for_status().json()["amounts"]
        return amounts

    def sum_caused(self) -> dict[str, Decimal]:
        """Return the exact amount of each effect in USD."""
        sums: dict[str, Decimal] = defaultdict(Decimal)
        for one in self.read_caused():
            sums[one["effect"]] += Decimal(one["amount"])
        return dict(sums)


def sum_reasons(rows: Iterable[Mapping[str, Any]]) -> dict[str, Decimal]:
    """Return the amount of each reason but rounding."""
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        for one in row["reasons"]:
            if one["reason"] != "rounding":
                sums[one["reason"]] += one["amount"] or 0
    return dict(sums)


def sum_shares(rows: Iterable[Mapping[str, Any]]) -> tuple[Decimal, Decimal]:
    """Return the absolute amounts that are explained and that are not."""
    sums = {True: Decimal(0), False: Decimal(0)}
    for row in rows:
        for one in row["reasons"]:
            sums[one["is_explained"]] += abs(one["amount"] or Decimal(0))
    return sums[True], sums[False]
