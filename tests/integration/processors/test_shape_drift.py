"""Answers that are not as documented: new fields are kept and counted, other types set aside."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from convergence.errors import ShapeChangedError
from convergence.processors.anthropic.config import UsageConfig as AnthropicUsage
from convergence.processors.anthropic.extraction import extract_usage as anthropic_usage
from convergence.processors.context import OrgContext, PipelineInfo, StepResult
from convergence.processors.deepseek.config import BalanceConfig
from convergence.processors.deepseek.observation import observe_balance
from convergence.processors.openai.config import UsageConfig as OpenaiUsage
from convergence.processors.openai.extraction import extract_usage as openai_usage
from support.processor_env import NOW, OrgEnv
from support.sandbox_process import SandboxProcess

DAY = date(2026, 11, 20)
KEPT = {"retain_raw": {"days": 7}}
OPENAI: dict[str, Any] = {
    "endpoints": [
        {"endpoint": "embeddings", "group_by": ["project_id", "user_id", "api_key_id", "model"]}
    ]
}


@dataclass(frozen=True)
class Case:
    """One provider's step, whose every answer is one page of rows."""

    key: str
    table: str
    path: str
    run: Callable[[OrgContext, dict[str, Any]], StepResult]


CASES = {
    "openai": Case(
        "sk-admin-sandbox-drift",
        "openai_usage_daily_raw",
        "usage/embeddings",
        lambda org, more: openai_usage(org, OpenaiUsage.from_values(OPENAI | more)),
    ),
    "anthropic": Case(
        "sk-ant-admin-sandbox-drift",
        "anthropic_usage_daily_raw",
        "analytics/usage",
        lambda org, more: anthropic_usage(org, AnthropicUsage.from_values(more)),
    ),
    "deepseek": Case(
        "sk-deepseek-sandbox-drift",
        "deepseek_balance_daily",
        "user/balance",
        lambda org, more: observe_balance(org, BalanceConfig.from_values(more)),
    ),
}


@dataclass
class Trial:
    """A provider's step for one org."""

    name: str
    org: OrgEnv
    faults: str

    @property
    def case(self) -> Case:
        return CASES[self.name]

    @property
    def var(self) -> Path:
        return self.org.env.settings.var_dir

    def lay(self, kind: str) -> None:
        fault = {"kind": kind, "path": self.case.path, "count": None}
        httpx.post(self.faults, json=fault, trust_env=False).raise_for_status()

    def run(self, more: dict[str, Any] | None = None, *, days_later: int = 0) -> StepResult:
        facts = PipelineInfo(
            pipeline_id=f"{self.name}-drift", dag_id=f"{self.name}.drift", provider=self.name
        )
        org = self.org.at(NOW + timedelta(days=days_later))
        # A balance is observed for the day that has just ended; the others return any day.
        day = DAY + timedelta(days=days_later if self.name == "deepseek" else 0)
        context = org.context([day], step="extract", run_id=f"run_{days_later}", pipeline=facts)
        return self.case.run(context, more or {})

    def rows(self) -> list[dict[str, Any]]:
        try:
            return self.org.rows(self.case.table, "WHERE usage_date > '2000-01-01'")
        except Exception as error:
            if "not found" in str(error).lower():
                return []
            raise

    def raw(self) -> list[Path]:
        folder = self.var / "raw" / f"{self.name}.drift" / self.org.slug / "extract"
        return sorted(folder.rglob("*.gz"))


@pytest.fixture(params=sorted(CASES))
def trial(request: pytest.FixtureRequest, org: OrgEnv, sandbox: SandboxProcess) -> Iterator[Trial]:
    url = f"{sandbox.providers}/_sandbox/faults"
    name: str = request.param
    org.env.keys[org.slug] = CASES[name].key
    yield Trial(name, org, url)
    httpx.delete(url, trust_env=False)


def test_a_new_field_is_kept_in_its_row_and_counted(trial: Trial) -> None:
    trial.lay("new_field")
    result = trial.run()
    rows = trial.rows()
    assert rows
    assert all(row["extra"]["x_sandbox_new"]["level"] == 3 for row in rows)
    assert result.details["unknown_fields"]["x_sandbox_new"] == len(rows)


def test_a_documented_answer_counts_no_unknown_field(trial: Trial) -> None:
    assert "x_sandbox_new" not in trial.run().details.get("unknown_fields", {})


def test_another_type_is_a_named_error_with_the_page_set_aside(trial: Trial) -> None:
    if trial.name == "deepseek":
        pytest.skip("a balance holds no whole number that could become an object")
    trial.lay("type_drift")
    with pytest.raises(ShapeChangedError) as caught:
        trial.run()
    assert trial.rows() == []
    kept = trial.var / str(caught.value.details["quarantined"])
    page = json.loads(gzip.decompress(kept.read_bytes()))
    assert str(caught.value.details["field"]) in json.dumps(page)
    assert str(trial.var) not in str(caught.value)
    assert kept.stat().st_mode & 0o077 == 0
    began = NOW.timestamp()
    for path in (kept, *kept.parents[:2]):
        os.utime(path, (began, began))
    for days, there in ((89, True), (91, False)):
        with pytest.raises(ShapeChangedError):
            trial.run(days_later=days)
        assert kept.exists() is there


def test_answers_are_kept_as_they_came_only_where_that_is_asked_for(trial: Trial) -> None:
    trial.run()
    assert trial.raw() == []
    trial.run(KEPT, days_later=1)
    (page,) = trial.raw()
    assert isinstance(json.loads(gzip.decompress(page.read_bytes())), dict)
    assert page.stat().st_mode & 0o077 == 0


def test_kept_answers_go_when_their_days_are_over(trial: Trial) -> None:
    trial.run(KEPT)
    (page,) = trial.raw()
    began = NOW.timestamp()
    for path in (page, page.parent):
        os.utime(path, (began, began))
    trial.run(KEPT, days_later=6)
    assert page.exists()
    trial.run(KEPT, days_later=8)
    assert not page.exists()
    assert trial.raw(), "younger ones stay"
    trial.run(days_later=9)
    assert trial.raw() == [], "nothing is kept any longer"
