"""The steps that send messages, for one org of the stand-in's warehouse."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from convergence.errors import NotificationUnavailableError
from convergence.processors.context import OrgContext
from convergence.processors.registry import find_config, find_operator
from convergence.processors.steplog import StepLog
from convergence.runs.records import RunRecords
from convergence.state.org_runs import OrgRun
from convergence.state.org_steps import OrgStep, StepStatus
from convergence.state.slots import RunLimits
from convergence.state.store import StateStore
from convergence.tenants import orgs
from convergence.tenants.audit import Actor
from support.mail_server import MailServer, WebhookServer
from support.processor_env import NOW, USAGE_COST, OrgEnv
from support.run_records import admit_run

DAY = date(2026, 11, 18)


class Telling:
    """An org run under way, with records of its own."""

    def __init__(self, org: OrgEnv, folder: Path) -> None:
        settings = org.env.settings
        configs = folder / "configs"
        shutil.copytree(settings.configs_dir / "notify_systems", configs / "notify_systems")
        self.store = StateStore.connect(f"sqlite:///{folder}/state.db")
        records = RunRecords(self.store)
        self.log = StepLog(self.store, records)
        context = org.context([DAY], step="notify_team")
        services = replace(
            context.services,
            settings=settings.model_copy(update={"configs_dir": configs}),
            store=self.store,
            steps=self.log,
        )
        self.context: OrgContext = replace(context, services=services)
        run = OrgRun(
            run_id=self.context.run_id,
            org_slug=org.slug,
            pipeline_id=USAGE_COST.pipeline_id,
            dag_id=USAGE_COST.dag_id,
            dag_run_id="manual__1",
            trigger="ui",
            requested_by="admin",
            created_at=NOW,
            days=(DAY,),
        )
        admit_run(self.store, run, limits=RunLimits(10, 10, 10), now=NOW)

    def run(self, channel: str, **config: Any) -> dict[str, Any]:
        ps_type = f"notify_systems.{channel}_notification"
        step: Any = find_operator(ps_type)(
            task_id="notify_team", config={}, pipeline=USAGE_COST, batch={"runs": []}
        )
        return dict(step.run_step(self.context, find_config(ps_type).from_values(config)).to_dict())

    def step_ended(self, status: StepStatus) -> None:
        step = OrgStep(
            run_id=self.context.run_id,
            step="extract_usage",
            org_slug=self.context.org_slug,
            processor="openai.usage",
            attempt=1,
            started_at=NOW,
        )
        self.log.record_start(step)
        self.log.record_end(step, status=status, now=NOW, rows_processed=42)


@pytest.fixture
def telling(org: OrgEnv, tmp_path: Path) -> Iterator[Telling]:
    made = Telling(org, tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def mail(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    with MailServer() as server:
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", server.connection())
        yield server


def test_the_administrator_is_told_by_email_once_however_often_the_step_is_tried(
    telling: Telling, mail: MailServer, org: OrgEnv
) -> None:
    orgs.create_profile(
        telling.store,
        org.env.warehouse,
        org_slug=org.slug,
        company_name="Acme",
        admin_email="cfo@acme.example",
        dataset_id=org.dataset,
        by=Actor("root", "admin"),
        now=NOW,
    )
    telling.step_ended(StepStatus.SUCCESS)
    for _ in range(2):
        answer = telling.run("email")
        assert answer == {"status": "SUCCESS", "notification_sent": True, "recipients": 1}
    assert mail.box.recipients == [("cfo@acme.example",)]
    assert "Rows: 42" in mail.box.messages[0].as_string()


def test_nobody_to_tell_or_another_outcome_is_skipped(telling: Telling, mail: MailServer) -> None:
    told = telling.run("email")
    assert told == {
        "status": "SKIPPED",
        "notification_sent": False,
        "reason": "there are no recipients",
    }
    told = telling.run("email", recipients=["a@b.co"], trigger="on_failure")
    assert told["reason"] == "the run is succeeded"
    telling.step_ended(StepStatus.FAILED)
    assert telling.run("email", recipients=["a@b.co"], trigger="on_failure")["notification_sent"]
    assert mail.box.recipients == [("a@b.co",)]


def test_a_webhook_that_refuses_is_recorded_and_fails_only_what_must_arrive(
    telling: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    with WebhookServer() as hook:
        monkeypatch.setenv("AIRFLOW_CONN_SLACK_TEAM", hook.connection())
        hook.answers = [(404, {}), (404, {})]
        answer = telling.run("slack", recipients=["slack_team"])
        assert answer == {
            "status": "SUCCESS",
            "notification_sent": False,
            "reason": "Slack says: no (404)",
        }
        with pytest.raises(NotificationUnavailableError, match="was not sent: Slack says: no"):
            telling.run("slack", recipients=["slack_team"], must_arrive=True)
        assert telling.run("slack", recipients=["slack_team"])["notification_sent"] is True
