"""The run parameter `accept_shrink`: where it comes from, and its audit entry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from convergence.errors import PipelineUnavailableError, RequestError
from convergence.pipelines.files.shrink_param import SHRINK_PARAM_SCHEMA
from convergence.pipelines.running.run_services import RunServices
from convergence.processors.context import PipelineInfo
from convergence.processors.run_conf import merge_params
from convergence.runs.eligibility import Eligibility
from convergence.state import outbox
from convergence.state.org_runs import OrgRun
from convergence.state.slots import RunLimits
from convergence.state.store import StateStore

NOW = datetime(2026, 11, 21, 6, tzinfo=UTC)
ACCEPTED = {"start_date": "2026-11-01", "end_date": "2026-11-03", "reason": "credit note"}
PIPELINE = PipelineInfo(
    pipeline_id="openai-cost-extract",
    dag_id="openai.cost.cost_extract",
    params={
        "type": "object",
        "properties": {"accept_shrink": dict(SHRINK_PARAM_SCHEMA)},
        "additionalProperties": False,
    },
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    made = StateStore.connect(f"sqlite:///{tmp_path}/state.db")
    yield made
    made.close()


def admit(store: StateStore, params: dict[str, Any]) -> None:
    """Admit a run as the first task of a run from Airflow does; a second call is its retry."""
    run = OrgRun(
        run_id="run_1",
        org_slug="acme_corp",
        pipeline_id=PIPELINE.pipeline_id,
        dag_id=PIPELINE.dag_id,
        dag_run_id="manual__1",
        trigger="ui",
        requested_by="admin",
        created_at=NOW,
        params=params,
    )
    eligibility = Eligibility("acme_corp", "ACTIVE", limits=RunLimits(9, 9, 9))
    services = RunServices(cast("Any", SimpleNamespace(store=store, steps=None)))
    services.admit_run(run, eligibility=eligibility, now=NOW)


def audited(store: StateStore) -> list[dict[str, Any]]:
    with store.read() as conn:
        return outbox.list_waiting_rows(conn, "org_audit_logs")


def test_a_run_from_airflow_is_audited_when_it_is_admitted_first(store: StateStore) -> None:
    for _ in range(2):
        admit(store, {"accept_shrink": ACCEPTED})
    (entry,) = audited(store)
    assert (entry["action"], entry["actor_type"], entry["actor"]) == (
        "run.accept_shrink",
        "system",
        "manual__1",
    )
    assert json.loads(entry["details"]) == ACCEPTED | {"pipeline_id": "openai-cost-extract"}


@pytest.mark.parametrize("params", [{}, {"accept_shrink": ACCEPTED | {"orgs": ["globex_inc"]}}])
def test_a_run_that_accepts_nothing_of_its_org_is_not_audited(
    store: StateStore, params: dict[str, Any]
) -> None:
    admit(store, params)
    assert audited(store) == []


def test_the_settings_of_an_org_may_accept_and_a_request_comes_first() -> None:
    other = ACCEPTED | {"reason": "another reason"}
    settings = {"accept_shrink": ACCEPTED}
    assert merge_params({}, settings, pipeline=PIPELINE) == settings
    requested = {"accept_shrink": other}
    assert merge_params(requested, settings, pipeline=PIPELINE) == requested


@pytest.mark.parametrize("stored", [True, False])
def test_a_stored_setting_of_the_old_form_accepts_nothing_and_stops_no_run(stored: bool) -> None:
    assert merge_params({}, {"accept_shrink": stored}, pipeline=PIPELINE) == {}


def test_a_wrong_setting_stops_the_run_and_a_wrong_request_is_refused() -> None:
    with pytest.raises(PipelineUnavailableError, match="reason"):
        merge_params({}, {"accept_shrink": {"start_date": "2026-11-01"}}, pipeline=PIPELINE)
    with pytest.raises(RequestError, match="accept_shrink"):
        merge_params({"accept_shrink": True}, {}, pipeline=PIPELINE)
