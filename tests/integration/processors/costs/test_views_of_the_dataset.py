"""The views of an org's dataset read that dataset alone, so its own accounts can query them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from convergence.processors.lib.daily.cost_view import build_cost_views, ensure_basis
from convergence.processors.setup.organizations.dataset import DatasetPlan, lay_out
from convergence.providers.cost_streams import list_streams
from convergence.providers.registry import load_registry
from convergence.tenants.datasets import describe_org_dataset
from convergence.warehouse.names import TableName
from convergence.warehouse.tables.evolve import read_view_query
from support.processor_env import ONBOARDING, ProcessorEnv, connect_env
from support.sandbox_process import SandboxProcess

ORG = "acme_corp"
OWN_VIEWS = {
    "cost_daily_by_basis": {"vendor_cost_source", "openai_cost_source", "aws_cost_source"},
    "cost_daily": {"openai_api_authoritative_daily", "gcp_billing_authoritative_daily"},
    "org_comprehensive_view": {"cost_daily"},
}
"""Of each view of onboarding, some of what it reads."""


@pytest.fixture(scope="module")
def no_central(
    sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProcessorEnv]:
    """A project with an org's dataset alone: all that the org's own account may see."""
    project = f"views-{uuid.uuid4().hex[:10]}"
    env = connect_env(sandbox, tmp_path_factory.mktemp("views"), project=project)
    plan = DatasetPlan.load(env.settings.configs_dir, ONBOARDING)
    lay_out(env.warehouse, plan, describe_org_dataset(env.settings, ORG), org_slug=ORG)
    dataset, configs = env.settings.org_dataset(ORG), env.settings.configs_dir
    for stream in list_streams(load_registry(env.settings)):
        for basis in stream.declared.bases.values():
            ensure_basis(env.warehouse, configs, dataset, basis)
    build_cost_views(env.warehouse, env.settings, ORG)
    yield env
    env.services.store.close()


def list_views(env: ProcessorEnv) -> list[str]:
    dataset = f"{env.warehouse.project}.{env.settings.org_dataset(ORG)}"
    tables = env.warehouse.client.list_tables(dataset)
    return sorted(table.table_id for table in tables if table.table_type == "VIEW")


def list_sources(env: ProcessorEnv, view: str) -> set[tuple[str, str]]:
    """Return the dataset and the name of every table that a view reads."""
    query = read_view_query(env.warehouse, TableName(env.settings.org_dataset(ORG), view))
    assert query is not None
    parsed = sqlglot.parse_one(query, dialect="bigquery")
    names = {one.alias for one in parsed.find_all(exp.CTE)}
    return {
        (table.db, table.name)
        for table in parsed.find_all(exp.Table)
        if table.db or table.name not in names
    }


def test_each_view_names_tables_of_its_dataset_only(no_central: ProcessorEnv) -> None:
    dataset, views = no_central.settings.org_dataset(ORG), list_views(no_central)
    assert set(OWN_VIEWS) <= set(views)
    assert len(views) > 8
    for view in views:
        sources = list_sources(no_central, view)
        assert {of for of, _ in sources} == {dataset}, view
        assert OWN_VIEWS.get(view, set()) <= {name for _, name in sources}, view


def test_each_view_can_be_queried_where_nothing_else_is(no_central: ProcessorEnv) -> None:
    datasets = [one.dataset_id for one in no_central.warehouse.client.list_datasets()]
    assert datasets == [no_central.settings.org_dataset(ORG)]
    for view in list_views(no_central):
        rows = no_central.ask(f"SELECT * FROM `{datasets[0]}.{view}`")  # ours
        assert rows == [], view


def test_the_sql_files_of_views_name_no_central_dataset() -> None:
    configs = Path(__file__).parents[4] / "include" / "configs"
    for folder in configs.rglob("views"):
        if "bootstrap" in folder.parts:
            continue
        for path in folder.glob("*.sql"):
            assert "{{ central }}" not in path.read_text(), path
