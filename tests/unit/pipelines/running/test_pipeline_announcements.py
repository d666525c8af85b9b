"""Recipients and reports of an ended run; a failed notification does not fail the run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

from convergence.errors import NotificationRejectedError
from convergence.pipelines.running.announcements import Announcer, Notify
from convergence.processors.context import PipelineInfo
from convergence.processors.notify_systems.channels import Channel
from convergence.processors.notify_systems.messages import Message
from convergence.processors.notify_systems.notifier import Notifier
from convergence.runs.ledger import Action, LedgerRow
from convergence.runs.slices import Finality, SliceKey
from convergence.settings import PROJECT_ROOT
from convergence.state import notifications
from convergence.state.notifications import NotificationKey
from convergence.state.org_runs import OrgRun, RunError, RunStatus
from convergence.state.org_steps import OrgStep, StepStatus
from convergence.state.store import StateStore
from convergence.warehouse.day_file import Money

NOW = datetime(2026, 11, 21, 6, tzinfo=UTC)
DAY = date(2026, 11, 20)
FACTS = PipelineInfo(
    pipeline_id="openai-usage-cost",
    dag_id="openai.cost.usage_cost",
    tables=("openai_cost_daily",),
    upstream={"transform_cost": ()},
)


def ended_run(org_slug: str, status: RunStatus = RunStatus.SUCCESS, **changes: Any) -> OrgRun:
    base = OrgRun(
        run_id=f"run_{org_slug}",
        org_slug=org_slug,
        pipeline_id="openai-usage-cost",
        dag_id=FACTS.dag_id,
        dag_run_id="r1",
        trigger="schedule",
        requested_by="scheduler",
        created_at=NOW,
        status=status,
        days=(DAY,),
        error=RunError("provider_refused", "extract_usage: refused")
        if status is RunStatus.FAILED
        else None,
    )
    return replace(base, **changes)


def slice_of(org_slug: str, amount: str, *, run_id: str | None = None, **money: str) -> LedgerRow:
    total = Money(money.get("currency", "USD"), money.get("basis", "computed"), Decimal(amount))
    return LedgerRow(
        key=SliceKey(org_slug, "openai-usage-cost", "openai_cost_daily", DAY),
        action=Action.PUBLISHED,
        attempt=1,
        run_id=run_id or f"run_{org_slug}",
        job_id="job",
        content_hash="hash",
        row_count=1,
        totals=(total,),
        finality=Finality.OPEN,
        checked_at=NOW,
        job_ended_at=NOW,
    )


class FakeLedger:
    def __init__(self, rows: Sequence[LedgerRow]) -> None:
        self._rows = rows
        self.asked = 0

    def read_latest(self, *, orgs: Sequence[str], **_: Any) -> Mapping[SliceKey, LedgerRow]:
        self.asked += 1
        return {row.key: row for row in self._rows if row.key.org_slug in orgs}


class Stage:
    """An announcer whose messages land in a list."""

    def __init__(self, store: StateStore, configs: Path) -> None:
        self.store = store
        self.configs = configs
        self.sent: list[tuple[NotificationKey, tuple[str, ...], Message]] = []
        self.refusing: set[str] = set()
        self.rows: list[LedgerRow] = []
        self.steps: dict[str, OrgStep] = {}
        self.ledger = FakeLedger(self.rows)
        self.admins_asked: list[tuple[str, ...]] = []

    def send(
        self, message: Message, *, to: Sequence[str], key: NotificationKey, now: datetime
    ) -> int:
        if key.org_slug in self.refusing:
            raise NotificationRejectedError("no such mailbox")
        self.sent.append((key, tuple(to), message))
        return len(to)

    def close(self) -> None:
        pass

    def _connect(self, name: str, settings: Channel) -> Stage:
        return self

    def _admins(self, slugs: Sequence[str]) -> Mapping[str, str]:
        self.admins_asked.append(tuple(slugs))
        return {slug: f"admin@{slug.replace('_', '-')}.example" for slug in slugs}

    def announce(
        self,
        notify: Notify,
        *runs: OrgRun,
        failed: Mapping[str, str] | None = None,
        facts: PipelineInfo = FACTS,
    ) -> dict[str, Any]:
        return Announcer(
            pipeline=facts,
            notify=notify,
            notifier=Notifier(self.store, self.configs, lambda: NOW, connect=self._connect),
            ledger=cast("Any", self.ledger),
            steps_of=lambda _: self.steps,
            admins_of=self._admins,
            base_url="https://air.example",
        ).announce_run(dag_run_id="r1", runs=runs, failed=failed or {})

    def heard(self) -> list[tuple[str, str, str, tuple[str, ...]]]:
        return [(key.org_slug, key.channel, key.event, to) for key, to, _ in self.sent]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    real = PROJECT_ROOT / "include" / "configs" / "notify_systems"
    shutil.copytree(real, tmp_path / "configs" / "notify_systems")
    store = StateStore.connect(f"sqlite:///{tmp_path}/state.db")
    yield Stage(store, tmp_path / "configs")
    store.close()


def test_each_org_hears_of_its_own_and_the_platform_of_the_whole_in_one_digest(
    stage: Stage,
) -> None:
    stage.rows += [slice_of("acme_corp", "1.5"), slice_of("globex", "2.25")]
    told = stage.announce(
        {"on_failure": ["email", "slack"], "on_success": ["email"]},
        ended_run("acme_corp"),
        ended_run("globex", RunStatus.FAILED),
        failed={"globex": "provider_refused: refused"},
    )
    assert stage.heard() == [
        ("~platform", "slack", "failed", ("slackwebhook_default",)),
        ("acme_corp", "email", "succeeded", ("admin@acme-corp.example",)),
        ("globex", "email", "failed", ("admin@globex.example",)),
    ]
    assert told == {"sent": 3, "failed": 0}
    digest = stage.sent[0][2].text
    assert "1 succeeded, 1 failed" in digest
    assert "3.75 USD (computed)" in digest
    assert "*globex*: provider_refused: refused" in digest
    assert "https://air.example/dags/openai.cost.usage_cost/runs/r1" in digest
    globex = stage.sent[2][2].text
    assert "The provider refused our request." in globex
    assert "acme" not in globex
    assert "2.25 USD (computed)" in globex
    assert "https://air.example/api/v1/pipelines/runs/globex/run_globex" in globex


def test_a_message_tells_each_basis_and_currency_apart_and_no_other_runs_days(
    stage: Stage,
) -> None:
    other = replace(
        slice_of("acme_corp", "100", run_id="run_before"),
        key=SliceKey("acme_corp", "openai-usage-cost", "openai_cost_daily", date(2026, 11, 1)),
    )
    both = replace(
        slice_of("acme_corp", "1"),
        totals=(
            Money("USD", "computed", Decimal("1.000000001")),
            Money("USD", "billed", Decimal(2)),
            Money("EUR", "billed", Decimal("0.5")),
        ),
    )
    stage.rows += [other, both]
    stage.announce({"on_success": ["email"]}, ended_run("acme_corp"))
    text = stage.sent[0][2].text
    assert [line for line in text.splitlines() if line.startswith("openai_cost_daily")] == [
        "openai_cost_daily: 0.50 EUR (billed)",
        "openai_cost_daily: 2.00 USD (billed)",
        "openai_cost_daily: 1.000000001 USD (computed)",
    ]


@pytest.mark.parametrize(
    ("status", "days", "hearing"),
    [
        (RunStatus.FAILED, (DAY,), {"on_failure", "on_completion", "always"}),
        (RunStatus.SUCCESS, (DAY,), {"on_success", "on_completion", "always"}),
        (RunStatus.CANCELLED, (DAY,), {"on_completion", "always"}),
        (RunStatus.SUCCESS, (), {"always"}),
    ],
)
def test_a_trigger_is_about_runs_that_ended_so(
    stage: Stage, status: RunStatus, days: tuple[date, ...], hearing: set[str]
) -> None:
    heard = set()
    for number, trigger in enumerate(("on_failure", "on_success", "on_completion", "always")):
        stage.sent.clear()
        one = ended_run("acme_corp", status, days=days, run_id=f"run_{number}")
        stage.announce(cast("Notify", {trigger: ["email"]}), one)
        heard |= {trigger for key, _, _ in stage.sent if key.org_slug == "acme_corp"}
    assert heard == hearing


def test_two_triggers_of_one_channel_are_one_message(stage: Stage) -> None:
    every: Notify = {"on_failure": ["email"], "on_completion": ["email"], "always": ["email"]}
    stage.announce(every, ended_run("acme_corp", RunStatus.FAILED), failed={"acme_corp": "x"})
    assert [org for org, *_ in stage.heard()] == ["acme_corp"]


def test_a_closing_task_that_is_tried_again_tells_nobody_twice_but_a_new_outcome_is_news(
    stage: Stage,
) -> None:
    notify: Notify = {"on_completion": ["email", "slack"]}
    failed = ended_run("acme_corp", RunStatus.FAILED)
    for _ in range(2):
        stage.announce(notify, failed, failed={"acme_corp": "x"})
    assert len(stage.sent) == 2
    stage.announce(notify, replace(failed, status=RunStatus.SUCCESS, error=None))
    assert [key.event for key, _, _ in stage.sent] == ["failed", "failed", "succeeded", "succeeded"]


def test_one_orgs_mailbox_that_refuses_keeps_nobody_elses_message_and_is_recorded(
    stage: Stage,
) -> None:
    stage.refusing = {"acme_corp"}
    told = stage.announce({"on_success": ["email"]}, ended_run("acme_corp"), ended_run("globex"))
    assert told == {"sent": 1, "failed": 1}
    with stage.store.read() as conn:
        (kept,) = notifications.list_for_run(conn, "run_acme_corp", "acme_corp")
    assert kept.error == "no such mailbox"


def test_broken_settings_fail_no_run_and_are_told(stage: Stage) -> None:
    (stage.configs / "notify_systems/email_notification/config.yml").write_text("nonsense: 1")
    told = stage.announce({"on_success": ["email"]}, ended_run("acme_corp"))
    assert told["sent"] == 0
    assert "config.yml is wrong" in told["error"]


def test_a_fleet_that_had_nothing_to_do_is_news_only_to_always(stage: Stage) -> None:
    stage.announce({"on_completion": ["slack"]})
    assert stage.sent == []
    stage.announce({"always": ["slack"]})
    assert stage.heard() == [("~platform", "slack", "idle", ("slackwebhook_default",))]


def test_a_platform_pipelines_failed_steps_are_told(stage: Stage) -> None:
    facts = replace(FACTS, scope="platform", tables=())
    why = {"create_tables": "did not succeed; see its log"}
    stage.announce({"on_failure": ["slack"]}, failed=why, facts=facts)
    assert "*create_tables*: did not succeed" in stage.sent[0][2].text
    stage.announce({"on_success": ["slack"]}, facts=facts)
    assert stage.sent[1][0].event == "succeeded"


def test_expectations_that_were_not_met_are_told(stage: Stage) -> None:
    finding = {"message": "sums_tie on t, 2026-11-20: not met; observed 1 against 2"}
    stage.steps["validate_quality"] = OrgStep(
        run_id="run_acme_corp",
        step="validate_quality",
        org_slug="acme_corp",
        processor="quality.expectations",
        attempt=1,
        started_at=NOW,
        status=StepStatus.SUCCESS,
        result={"quality": {"findings": [finding]}},
    )
    stage.announce({"on_success": ["email"]}, ended_run("acme_corp"))
    assert "- sums_tie on t, 2026-11-20: not met" in stage.sent[0][2].text


def test_administrators_and_slices_are_asked_for_once_however_many_orgs(stage: Stage) -> None:
    orgs = [ended_run(f"org_{number:03}") for number in range(150)]
    stage.announce({"on_success": ["email", "slack"]}, *orgs)
    assert len(stage.sent) == 151
    assert len(stage.admins_asked) == 1
    assert stage.ledger.asked == 1


def test_a_digest_tells_every_orgs_money_however_many_there_are(stage: Stage) -> None:
    slugs = [f"org_{number:03}" for number in range(450)]
    stage.rows += [slice_of(slug, "0.01") for slug in slugs]
    stage.announce({"on_success": ["slack"]}, *(ended_run(slug) for slug in slugs))
    assert "4.50 USD (computed)" in stage.sent[0][2].text
    assert stage.ledger.asked == 3


def test_an_org_of_its_own_recipients_hears_there(stage: Stage) -> None:
    settings = stage.configs / "notify_systems/slack_notification/config.yml"
    text = settings.read_text()
    settings.write_text(
        text.replace("organizations: {}", "organizations: {acme_corp: [slack_acme]}")
    )
    stage.announce({"on_success": ["slack"]}, ended_run("acme_corp"), ended_run("globex"))
    assert stage.heard()[1:] == [("acme_corp", "slack", "succeeded", ("slack_acme",))]
