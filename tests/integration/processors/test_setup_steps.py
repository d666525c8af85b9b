"""Bootstrap, dry run and onboarding as their steps do them, on a warehouse of one's own."""

from __future__ import annotations

from typing import Any

import pytest

from convergence.errors import (
    ConflictError,
    NotBootstrappedError,
    RequestError,
    WarehouseUnavailableError,
)
from convergence.processors.context import PipelineInfo
from convergence.processors.setup.initial.config import OnetimeBootstrapConfig
from convergence.processors.setup.initial.onetime_bootstrap import OnetimeBootstrap
from convergence.processors.setup.organizations import onboarding_run
from convergence.processors.setup.organizations.checks import OrganizationRequest
from convergence.processors.setup.organizations.config import DryrunConfig
from convergence.processors.setup.organizations.dryrun import Dryrun
from convergence.tenants import orgs, quotas, subscriptions
from convergence.warehouse.tables.datasets import dataset_exists, ensure_dataset, list_tables
from support.processor_env import ONBOARDING, ProcessorEnv

ACME = OrganizationRequest(
    org_slug="acme_corp", company_name="Acme Corporation", admin_email="cfo@acme.example"
)
DATASET = "acme_corp_dev"
FACTS = PipelineInfo(pipeline_id="setup", dag_id="setup", scope="platform")


def bootstrap(env: ProcessorEnv, **params: Any) -> dict[str, Any]:
    step = OnetimeBootstrap(task_id="create", config={}, pipeline=FACTS)
    return step.run_step(env.platform(), OnetimeBootstrapConfig(), params).to_dict()


def dryrun(env: ProcessorEnv, **params: Any) -> dict[str, Any]:
    step = Dryrun(task_id="validate", config={}, pipeline=FACTS)
    values = {
        "org_slug": "acme_corp",
        "company_name": "Acme Corporation",
        "admin_email": "cfo@acme.example",
    }
    return step.run_step(env.platform(), DryrunConfig(), values | params).to_dict()


def failed(answer: dict[str, Any]) -> set[str]:
    return {check["check"] for check in answer["checks"] if not check["passed"]}


def onboard(env: ProcessorEnv, request: OrganizationRequest = ACME) -> dict[str, Any]:
    return onboarding_run.onboard_organization(env.platform(), ONBOARDING, request)


def test_bootstrap_makes_everything_once_and_then_nothing(empty_env: ProcessorEnv) -> None:
    first = bootstrap(empty_env)
    assert first["status"] == "SUCCESS"
    assert len(first["tables_created"]) == 15
    assert len(first["views_created"]) == 3
    second = bootstrap(empty_env, force_recreate_dataset=False)
    assert second["tables_created"] == second["views_created"] == second["tables_widened"] == []


def test_a_confirmed_recreation_empties_the_central_dataset(empty_env: ProcessorEnv) -> None:
    bootstrap(empty_env)
    onboard(empty_env)
    with pytest.raises(RequestError, match="confirmed"):
        bootstrap(empty_env, force_recreate_dataset=True)
    assert orgs.find_org(empty_env.warehouse, "acme_corp") is not None
    again = bootstrap(empty_env, force_recreate_dataset=True, confirmation="organizations")
    assert again["dataset_recreated"]
    assert orgs.find_org(empty_env.warehouse, "acme_corp") is None


def test_a_dry_run_tells_everything_and_creates_nothing(empty_env: ProcessorEnv) -> None:
    answer = dryrun(empty_env, org_slug="No", admin_email="x", subscription_plan="GOLD")
    assert answer["status"] == "SUCCESS"
    assert not answer["ready_for_onboarding"]
    assert failed(answer) == {
        "slug_valid",
        "email_valid",
        "plan_valid",
        "central_tables_exist",
        "org_is_new",
        "dataset_is_free",
    }
    assert list(empty_env.warehouse.client.list_datasets()) == []


def test_a_dry_run_passes_before_onboarding_and_fails_after(empty_env: ProcessorEnv) -> None:
    bootstrap(empty_env)
    before = dryrun(empty_env)
    assert (before["ready_for_onboarding"], failed(before)) == (True, set())
    assert not dataset_exists(empty_env.warehouse, DATASET)
    onboard(empty_env)
    after = dryrun(empty_env)
    assert (after["ready_for_onboarding"], failed(after)) == (
        False,
        {"org_is_new", "dataset_is_free"},
    )


def test_onboarding_gives_an_org_all_it_needs(empty_env: ProcessorEnv) -> None:
    bootstrap(empty_env)
    answer = onboard(empty_env)
    assert answer["dataset_id"] == DATASET
    assert answer["dataset_created"] is True
    assert set(answer["tables_created"]) == list_tables(empty_env.warehouse, DATASET)
    assert set(answer["tables_created"]) >= {"openai_model_pricing", "cost_daily"}
    assert subscriptions.get_subscription(empty_env.warehouse, "acme_corp").plan == "STARTER"
    assert quotas.get_quota(empty_env.warehouse, "acme_corp").runs_per_day > 0
    assert all(check["passed"] for check in answer["checks"])
    project = empty_env.warehouse.project
    labels = empty_env.warehouse.client.get_dataset(f"{project}.{DATASET}").labels
    assert labels["org_slug"] == "acme_corp"
    kept = empty_env.ask(f"SELECT check_name FROM `{DATASET}.org_onboarding_validation`")  # ours
    assert len(kept) == len(answer["checks"])
    assert empty_env.ask(f"SELECT * FROM `{DATASET}.org_comprehensive_view`") == []  # ours


def test_onboarding_again_changes_nothing(empty_env: ProcessorEnv) -> None:
    bootstrap(empty_env)
    onboard(empty_env)
    again = onboard(empty_env)
    assert again["tables_created"] == []
    assert len(orgs.list_orgs(empty_env.warehouse)) == 1
    rows = empty_env.ask("SELECT org_slug FROM `organizations.org_subscriptions`")
    assert len(rows) == 1


@pytest.mark.parametrize(
    "step", ["orgs.create_profile", "lay_out", "subscriptions.create_subscription", "run_file"]
)
def test_onboarding_resumes_where_it_was_cut_off(
    empty_env: ProcessorEnv, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    bootstrap(empty_env)

    def dies(*_args: object, **_kwargs: object) -> None:
        raise WarehouseUnavailableError("cut off")

    with monkeypatch.context() as patch:
        patch.setattr(f"{onboarding_run.__name__}.{step}", dies)
        with pytest.raises(WarehouseUnavailableError):
            onboard(empty_env)
    answer = onboard(empty_env)
    assert all(check["passed"] for check in answer["checks"])
    assert subscriptions.get_subscription(empty_env.warehouse, "acme_corp").status in {
        "ACTIVE",
        "TRIAL",
    }


def test_onboarding_before_bootstrap_says_so_and_leaves_nothing(empty_env: ProcessorEnv) -> None:
    with pytest.raises(NotBootstrappedError, match="bootstrap"):
        onboard(empty_env)
    assert list(empty_env.warehouse.client.list_datasets()) == []


def test_a_wrong_request_is_refused_before_anything_is_made(empty_env: ProcessorEnv) -> None:
    bootstrap(empty_env)
    wrong = OrganizationRequest(org_slug="acme_corp", company_name="", admin_email="x")
    with pytest.raises(RequestError) as caught:
        onboard(empty_env, wrong)
    assert len(caught.value.details["errors"]) == 2  # type: ignore[arg-type]  # a list
    assert orgs.list_orgs(empty_env.warehouse) == []


def test_a_taken_slug_is_not_handed_over(empty_env: ProcessorEnv) -> None:
    bootstrap(empty_env)
    onboard(empty_env)
    other = OrganizationRequest(
        org_slug="acme_corp", company_name="Acme Corporation", admin_email="else@where.example"
    )
    with pytest.raises(ConflictError, match="another organization"):
        onboard(empty_env, other)


def test_a_dataset_of_somebody_else_is_left_alone(empty_env: ProcessorEnv) -> None:
    bootstrap(empty_env)
    ensure_dataset(empty_env.warehouse, DATASET, description="Not made by onboarding")
    with pytest.raises(ConflictError, match="not this organization"):
        onboard(empty_env)
    assert list_tables(empty_env.warehouse, DATASET) == set()
    assert orgs.list_orgs(empty_env.warehouse) == []
