"""A customer's Google Cloud project in the sandbox: its service account and its billing export."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from google.api_core.client_options import ClientOptions
from google.cloud import bigquery
from google.oauth2.credentials import Credentials

from convergence_sandbox.providers.google.accounts import make_token, project_of, service_account
from support.processor_env import OrgEnv
from support.sandbox_process import SandboxProcess

DATA = Path(__file__).parents[2] / "data" / "gcp"


def golden_rows() -> list[dict[str, Any]]:
    """The 21 rows of the recorded export."""
    text = (DATA / "billing_export_sample.ndjson").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def golden_totals() -> dict[str, Any]:
    """What they come to."""
    told: dict[str, Any] = json.loads((DATA / "expected_totals.json").read_text(encoding="utf-8"))
    return told


@dataclass(frozen=True)
class Customer:
    """A customer by its seed; a test's own, since exports only grow."""

    sandbox: SandboxProcess
    seed: str

    @property
    def project(self) -> str:
        return project_of(self.seed)

    @property
    def credential(self) -> str:
        return json.dumps(service_account(self.seed))

    @cached_property
    def client(self) -> bigquery.Client:
        """BigQuery with the customer's own rights."""
        return bigquery.Client(
            project=self.project,
            credentials=Credentials(token=make_token(self.project, now=time.time())),
            client_options=ClientOptions(api_endpoint=self.sandbox.bigquery),
        )

    def connect(self, org: OrgEnv) -> None:
        """Make it the org's Google Cloud."""
        org.env.keys[org.slug] = self.credential

    def export(self, rows: Sequence[dict[str, Any]], **more: str) -> dict[str, Any]:
        """Let Google export rows; answers where they are."""
        body = {"seed": self.seed, "rows": list(rows), "location": "EU", **more}
        told: dict[str, Any] = self.sandbox.admin("POST", "google/billing_exports", body).json()
        return told

    def export_days(self, first: str, last: str, as_of: str, **more: str) -> dict[str, Any]:
        """Let Google export what the sandbox makes up."""
        body = {"seed": self.seed, "first_day": first, "last_day": last, "as_of": as_of, **more}
        told: dict[str, Any] = self.sandbox.admin("POST", "google/billing_exports", body).json()
        return told
