"""The suites that come with the platform, on days that the platform's own steps published."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import uuid4

import pytest

from convergence.errors import ExpectationsNotMetError
from convergence.pipelines.files.loader import load_pipeline
from convergence.pipelines.files.spec import PipelineSpec
from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, PipelineInfo, StepResult
from convergence.processors.gcp.billing_export import copy_export
from convergence.processors.gcp.config import BqEtlConfig
from convergence.processors.registry import find_operator
from convergence.settings import PROJECT_ROOT
from support.processor_env import OrgEnv
from support.sandbox_process import SandboxProcess
from support.vendors.gcp_customer import Customer, golden_rows

CONFIGS = PROJECT_ROOT / "include" / "configs"
DAYS = [date(2026, 11, day) for day in (16, 17, 18)]
PIPELINES = {
    "openai/cost/usage_cost.yml": "sk-admin-sandbox-acme",
    "anthropic/usage_cost.yml": "sk-ant-admin-sandbox-acme",
}
SEEDS = {"openai/cost/usage_cost.yml": "openai/seed_csv.yml"}


class Pipeline:
    """A pipeline of the platform whose steps run one after the other for one org."""

    def __init__(self, org: OrgEnv, path: str) -> None:
        self._org = org
        spec = load_pipeline(CONFIGS / path, CONFIGS)
        assert isinstance(spec, PipelineSpec), spec
        self.spec = spec
        self._facts: PipelineInfo = spec.build_info()

    def step(self, name: str) -> StepResult:
        spec = next(step for step in self.spec.steps if step.step == name)
        kind = find_operator(spec.ps_type)
        step = kind(task_id=name, config={}, pipeline=self._facts, batch={"runs": []})
        assert isinstance(step, OrgProcessor)
        return step.run_step(self.context(name), spec.parsed)

    def context(self, step: str) -> OrgContext:
        return self._org.context(DAYS, step=step, pipeline=self._facts)

    def all(self) -> dict[str, StepResult]:
        return {step.step: self.step(step.step) for step in self.spec.steps}


@pytest.fixture
def ran(org: OrgEnv, request: pytest.FixtureRequest) -> tuple[Pipeline, dict[str, StepResult]]:
    path: str = request.param
    org.env.keys[org.slug] = PIPELINES[path]
    if path in SEEDS:
        Pipeline(org, SEEDS[path]).all()
    pipeline = Pipeline(org, path)
    return pipeline, pipeline.all()


@pytest.mark.parametrize("ran", list(PIPELINES), indirect=True)
def test_what_the_platforms_steps_publish_meets_its_suite(
    ran: tuple[Pipeline, dict[str, StepResult]],
) -> None:
    _, results = ran
    quality: dict[str, Any] = dict(results["validate_quality"].details["quality"])
    assert quality["expectations"] >= 7
    assert quality["days"] == 3
    assert quality["findings"] == []


@pytest.mark.parametrize("made_up", [False, True])
def test_what_google_exports_meets_its_suite_corrections_and_look_alike_rows_included(
    org: OrgEnv, sandbox: SandboxProcess, made_up: bool
) -> None:
    customer = Customer(sandbox, f"t{uuid4().hex[:10]}")
    customer.connect(org)
    if made_up:
        customer.export_days("2026-11-10", "2026-11-19", "2026-11-20T12:00:00Z")
    else:
        customer.export(golden_rows())
    pipeline = Pipeline(org, "gcp/cost/billing.yml")
    copy_export(pipeline.context("extract_billing"), BqEtlConfig(overlap_days=30))
    pipeline.step("transform_cost")
    quality = dict(pipeline.step("validate_quality").details["quality"])
    assert quality["expectations"] == 7
    assert org.rows("billing_cost_daily")
    assert [one["message"] for one in quality["findings"] if one["severity"] == "stop"] == []


@pytest.mark.parametrize("ran", list(PIPELINES), indirect=True)
def test_a_row_that_pricing_lost_stops_the_run(
    org: OrgEnv, ran: tuple[Pipeline, dict[str, StepResult]]
) -> None:
    pipeline, _ = ran
    table = pipeline.spec.tables[1]
    lost = org.table(table)
    org.env.ask(f"DELETE FROM {lost} WHERE usage_date = '2026-11-17' AND total_tokens > 0")
    with pytest.raises(ExpectationsNotMetError, match=rf"_tie_to_the_usage on {table}, 2026-11-17"):
        pipeline.step("validate_quality")
