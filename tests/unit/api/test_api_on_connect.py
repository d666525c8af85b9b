"""What connecting a provider runs: as the registry says, in order, in as many runs as it takes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from convergence.api.airflow.catalog import Catalog
from convergence.api.integrations.imports import Imports
from convergence.errors import NotFoundError
from convergence.pipelines.files.spec import PipelineSpec
from convergence.providers.registry import Provider, ProviderRegistry
from convergence.settings import PROJECT_ROOT
from convergence.state import pipeline_configs
from convergence.state.pipeline_configs import PipelineConfig
from convergence.state.queueing import queue
from convergence.tenants.audit import Actor
from support.api.env import ACME, InMemoryServices

CONFIGS = PROJECT_ROOT / "include" / "configs"
REGISTRY = ProviderRegistry.load(CONFIGS / "system" / "providers.yml")
NOW = datetime.now(UTC)
RUNS = [(one, run) for one in REGISTRY for run in one.on_connect]


def imported(services: InMemoryServices, provider: Provider) -> list[str]:
    queued = Imports(services, ACME, Actor("org_key", "key_1")).enqueue_runs(provider, now=NOW)
    return [run.pipeline for run in queued]


def test_every_pipeline_of_the_registry_is_there_and_is_the_providers_own() -> None:
    catalog = Catalog(CONFIGS)
    assert {one.id for one, _ in RUNS} >= {"openai", "anthropic", "deepseek", "gcp", "aws"}
    for provider, run in RUNS:
        spec = catalog.find_pipeline(run.pipeline)
        assert REGISTRY.get(spec.provider or "") == provider
        assert set(run.needs) <= set(spec.params)


def test_only_what_seeds_is_free_and_it_comes_first() -> None:
    catalog = Catalog(CONFIGS)
    for provider in REGISTRY:
        free = [run.pipeline for run in provider.on_connect if not run.debited]
        steps = [step for path in free for step in catalog.find_pipeline(path).steps]
        assert [step.parsed.daily_tables() for step in steps] == [()] * len(steps)
        assert [run.pipeline for run in provider.on_connect][: len(free)] == free


def test_a_long_history_is_as_many_runs_as_it_takes_one_after_the_other(
    services: InMemoryServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = Catalog.find_pipeline

    def longer(catalog: Catalog, path: str) -> PipelineSpec:
        spec = find(catalog, path)
        copy = spec.model_copy(update={"history_days": 70, "max_days": 31})
        copy.set_source(spec.path, spec.source)
        return copy

    monkeypatch.setattr(Catalog, "find_pipeline", longer)
    found = imported(services, REGISTRY.get("anthropic"))
    assert found == ["anthropic/seed_csv", *["anthropic/usage_cost"] * 3]
    with services.store.read() as conn:
        entries = queue.list_waiting(conn, org_slug=ACME)
    follows = [entry.follows for entry in entries]
    assert follows == [None, *(entry.queue_id for entry in entries[:-1])]
    assert [entry.debited for entry in entries] == [False, True, True, True]
    assert {(entry.days, entry.requested_by) for entry in entries} == {((), "key_1")}


def test_what_needs_settings_waits_for_them(services: InMemoryServices) -> None:
    aws = REGISTRY.get("aws")
    assert imported(services, aws) == []
    params = {"bucket": "acme-billing", "export_name": "daily"}
    config = PipelineConfig(
        ACME, "aws-cost-data-export", "aws.cost.data_export", "AWS", NOW, "key_1", params=params
    )
    with services.store.begin() as conn:
        pipeline_configs.put_config(conn, config)
    assert imported(services, aws) == ["aws/cost/data_export"]


def test_a_pipeline_that_can_not_be_found_leaves_the_others(
    services: InMemoryServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = Catalog.find_pipeline

    def without_bill(catalog: Catalog, path: str) -> PipelineSpec:
        if path == "openai/cost/cost_extract":
            raise NotFoundError("no such pipeline", path=path)
        return find(catalog, path)

    monkeypatch.setattr(Catalog, "find_pipeline", without_bill)
    found = imported(services, REGISTRY.get("openai"))
    assert found == ["openai/seed_csv", "openai/cost/usage_cost"]


def test_balances_are_observed_on_connecting(services: InMemoryServices) -> None:
    assert imported(services, REGISTRY.get("deepseek")) == ["deepseek/balance"]


def test_no_more_waits_than_a_queue_may_hold(
    services: InMemoryServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convergence.api.integrations.imports.MAX_WAITING", 2)
    assert imported(services, REGISTRY.get("openai")) == []
    with services.store.read() as conn:
        assert queue.count_waiting(conn, ACME) == 0
