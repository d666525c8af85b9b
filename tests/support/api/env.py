"""What surrounds the app in its tests: a real state store and the real pipelines; Airflow is a
double.

The warehouse is stood in for at its edge: the rows that a key lookup, the gate and the ledger
read. `tests/integration/api` runs the same app against the sandbox's warehouse.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from convergence.api.airflow.client import AirflowClient
from convergence.api.http.services import ApiServices
from convergence.runs.eligibility import Eligibility
from convergence.settings import Settings
from convergence.state.slots import RunLimits
from support.api.airflow_double import AirflowDouble, connect_double
from support.api.in_memory import InMemoryAuthenticator, InMemoryGate, InMemoryLedger

ROOT_KEY = "root-key-of-the-tests-0123456789abcdef"
ACME, GLOBEX = "acme_corp", "globex_inc"
ACME_KEY, GLOBEX_KEY = f"{ACME}_api_AAAAbbbb11112222", f"{GLOBEX}_api_CCCCdddd33334444"
USAGE_COST = "openai.cost.usage_cost"
SEED = "openai.seed_csv"


@dataclass
class ApiEnv:
    """What surrounds the app, for tests to change."""

    airflow: AirflowDouble
    authenticator: InMemoryAuthenticator
    gate: InMemoryGate
    ledger: InMemoryLedger
    headers: dict[str, dict[str, str]] = field(
        default_factory=lambda: {
            "root": {"X-CA-Root-Key": ROOT_KEY},
            "acme": {"X-API-Key": ACME_KEY},
            "globex": {"X-API-Key": GLOBEX_KEY},
            "anonymous": {},
        }
    )

    def standing(self, org: str, **changes: Any) -> None:
        """Set how an org stands at the gate."""
        sound: dict[str, Any] = {
            "org_slug": org,
            "org_status": "ACTIVE",
            "plan": "STARTER",
            "subscription_status": "ACTIVE",
            "credential_id": "cred_1",
            "validation_status": "VALID",
            "connected_on": datetime.now(UTC).date(),
            "limits": RunLimits(runs_per_day=50, runs_per_month=500, concurrent_runs=10),
        }
        self.gate.standings[org] = Eligibility(**{**sound, **changes})
        self.gate.forget_org(org)


class InMemoryServices(ApiServices):
    """The services, with doubles at the edges of the process."""

    def __init__(self, settings: Settings, env: ApiEnv) -> None:
        super().__init__(settings)
        self.env = env

    @cached_property
    def airflow(self) -> AirflowClient:
        return connect_double(self.env.airflow)

    @cached_property
    def authenticator(self) -> InMemoryAuthenticator:
        return self.env.authenticator

    @cached_property
    def gate(self) -> InMemoryGate:
        return self.env.gate

    @cached_property
    def ledger(self) -> InMemoryLedger:  # type: ignore[override]  # only what the API calls of it
        return self.env.ledger


def make_settings(tmp_path: Path, **changes: Any) -> Settings:
    """Settings of a test's own state; limits far away."""
    values: dict[str, Any] = {
        "root_api_key": ROOT_KEY,
        "state_database_url": f"sqlite:///{tmp_path / 'state.db'}",
        "rate_limit_requests_per_minute": 100_000,
        "rate_limit_global_requests_per_minute": 100_000,
        "admin_call_wait_seconds": 2.0,
        **changes,
    }
    return Settings(**values)
