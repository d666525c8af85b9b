"""Every processor that extracts, as the conformance suite runs it: a step of a shipped pipeline.

A further extracting processor is one more entry of `SUBJECTS`; the other processors are named too,
so that a new one can't be in no list.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from convergence.processors.context import StepResult
from convergence_sandbox.providers.google.accounts import service_account
from support.pipeline_steps import Job, endpoints, run_steps
from support.processor_env import NOW, OrgEnv
from support.sandbox_process import SandboxProcess
from support.vendors.providers_server import client

YESTERDAY = NOW.date() - timedelta(days=1)
TWO_DAYS = (YESTERDAY - timedelta(days=1), YESTERDAY)


@dataclass(frozen=True)
class Subject:
    """One extracting step.

    Attributes:
        ps_type: its processor.
        pipeline: file of the shipped pipeline.
        step: its name there.
        table: that it publishes, with the column of its day.
        key: makes the credential that the stand-in knows, of a seed.
        path: regular expression of the requests that faults strike and that are counted.
        day_column: of the table.
        days: that it is asked for.
        once: whether a day that is published is never asked about again.
        small_pages: what to change so that a list has several pages: name and value.
        unseen: faults that leave an answer as sound as any other: an API without a total that
            says there is no more, a list that may be empty, or an answer without the kind of
            value that the fault spoils.
    """

    ps_type: str
    pipeline: str
    step: str
    table: str
    key: Callable[[str], str]
    path: str
    day_column: str = "usage_date"
    days: Sequence[date] = TWO_DAYS
    once: bool = False
    small_pages: tuple[str, str] | None = None
    unseen: frozenset[str] = frozenset()


NO_TOTAL = frozenset({"pages never mentioned"})
NO_NUMBERS = frozenset({"NaN", "number out of range"})
NO_LIST_OF_DATA = frozenset({"duplicate keys"})

SUBJECTS = {
    subject.ps_type: subject
    for subject in (
        Subject(
            "openai.usage",
            "openai/cost/usage_cost.yml",
            "extract_usage",
            "openai_usage_daily_raw",
            "sk-admin-sandbox-{}".format,
            "^/openai/",
        ),
        Subject(
            "openai.billed",
            "openai/cost/cost_extract.yml",
            "extract_billed",
            "openai_billed_daily",
            "sk-admin-sandbox-{}".format,
            "^/openai/",
        ),
        Subject(
            "anthropic.usage",
            "anthropic/usage_cost.yml",
            "extract_usage",
            "anthropic_usage_daily_raw",
            "sk-ant-admin-sandbox-{}".format,
            "^/anthropic/",
            small_pages=("convergence.processors.anthropic.extraction.MAX_ROWS", "4"),
            unseen=NO_TOTAL,
        ),
        Subject(
            "anthropic.billed",
            "anthropic/usage_cost.yml",
            "extract_billed",
            "anthropic_billed_daily",
            "sk-ant-admin-sandbox-{}".format,
            "^/anthropic/",
            small_pages=("convergence.processors.anthropic.extraction.MAX_ROWS", "4"),
            unseen=NO_TOTAL,
        ),
        Subject(
            "deepseek.balance",
            "deepseek/balance.yml",
            "extract_balance",
            "deepseek_balance_daily",
            "sk-deepseek-sandbox-{}".format,
            "^/deepseek/",
            days=(YESTERDAY,),
            once=True,
            unseen=NO_NUMBERS | NO_LIST_OF_DATA | {"empty page"},
        ),
        Subject(
            "gcp.api_extractor",
            "gcp/api/billing_accounts.yml",
            "extract_billing_accounts",
            "gcp_billing_accounts_raw",
            lambda seed: json.dumps(service_account(f"t{seed}")),
            "^/google/.*billingAccounts",
            day_column="snapshot_date",
            days=(YESTERDAY,),
            once=True,
            unseen=NO_TOTAL
            | NO_NUMBERS
            | NO_LIST_OF_DATA
            | {"empty page", "rows are null", "type changed"},
        ),
        Subject(
            "generic.api_extractor",
            "example/usage/example_elt_pipeline.yml",
            "extract_usage",
            "vendor_usage_daily_raw",
            "vendor-sandbox-{}".format,
            "^/vendor/",
        ),
    )
}

PROCESSORS_THAT_DO_NOT = {
    "costs.authoritative",
    "costs.reconciliation",
    "anthropic.cost",
    "gcp.billing_cost",
    "generic.local_bq_transformer",
    "generic.price_rollout",
    "generic.seed_csv",
    "integrations.kms_decrypt",
    "integrations.kms_store",
    "integrations.validate",
    "integrations.validate_aws",
    "integrations.validate_claude",
    "integrations.validate_deepseek",
    "integrations.validate_gcp",
    "integrations.validate_openai",
    "notify_systems.email_notification",
    "notify_systems.slack_notification",
    "openai.cost",
    "openai.seed_csv",
    "openai.subscriptions",
    "quality.expectations",
    "setup.initial.onetime_bootstrap",
    "setup.organizations.dryrun",
    "setup.organizations.onboarding",
    "system.tick",
}
"""Processors that read no provider."""


HELD_ELSEWHERE = {
    "aws.s3_data_loader": "aws/test_aws_export_faults.py",
    "gcp.bq_etl": "gcp/test_gcp_billing_faults.py",
}
"""Processors that read no pages over HTTP, and the test that holds each to its own faults."""


class Trial:
    """One subject, for one org that the stand-in knows."""

    def __init__(
        self, subject: Subject, org: OrgEnv, sandbox: SandboxProcess, *, seed: str
    ) -> None:
        self.subject = subject
        self.org = org
        self.sandbox = sandbox
        self.seed = seed
        self.runs = 0
        self.key = subject.key(seed)
        org.env.keys[org.slug] = self.key

    def run(self, *, run_id: str | None = None, attempt: int = 1) -> StepResult:
        self.runs += 1
        step = self.subject.step
        found = run_steps(
            self.org,
            self.subject.pipeline,
            self.subject.days,
            run_id=run_id or f"run_{self.runs}",
            attempt=attempt,
            only=step,
        )
        return found[step]

    def job(self, *, run_id: str, attempt: int = 1) -> Job:
        """The same in a process of its own."""
        settings = self.org.env.settings
        return Job(
            sandbox=endpoints(self.sandbox),
            project=settings.gcp_project_id,
            var_dir=str(settings.var_dir),
            settings={},
            org_slug=self.org.slug,
            key=self.key,
            path=self.subject.pipeline,
            days=[day.isoformat() for day in self.subject.days],
            run_id=run_id,
            attempt=attempt,
            only=self.subject.step,
        )

    def published(self) -> list[str]:
        """The rows of the days, as text, sorted."""
        client = self.org.env.warehouse.client
        tables = {table.table_id for table in client.list_tables(self.org.dataset)}
        if self.subject.table not in tables:
            return []
        asked = ", ".join(f"'{day}'" for day in self.subject.days)
        rows = self.org.rows(self.subject.table, f"WHERE {self.subject.day_column} IN ({asked})")
        return sorted(json.dumps(row, default=str, sort_keys=True) for row in rows)

    def lay(self, *faults: dict[str, Any]) -> None:
        """Let faults lie in wait for requests of the subject's kind."""
        told = [{"path": self.subject.path, **fault} for fault in faults]
        url = f"{self.sandbox.providers}/_sandbox/faults"
        client().post(url, json=told).raise_for_status()

    def clear(self) -> None:
        """Forget every fault."""
        client().delete(f"{self.sandbox.providers}/_sandbox/faults")

    def requests(self) -> int:
        """How many requests of the subject's kind there have been."""
        url = f"{self.sandbox.providers}/_sandbox/requests"
        return len(client().get(url, params={"path": self.subject.path}).json())
