"""The services of one API process, and their lookup from a request."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

from cachetools import TTLCache
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from convergence.api.airflow.catalog import Catalog
from convergence.api.airflow.client import AirflowClient
from convergence.api.airflow.operations import Operations
from convergence.api.airflow.stalls import StallWatch
from convergence.api.http.denied_requests import DeniedRequests
from convergence.api.http.idempotency import Idempotency
from convergence.api.http.limits import RateLimiter
from convergence.errors import ConvergenceError, PipelineUnavailableError
from convergence.runs import readiness
from convergence.runs.readiness import DagState
from convergence.runs.records import RunRecords
from convergence.settings import Settings
from convergence.state.cache_versions import CacheVersions
from convergence.state.store import StateStore

if TYPE_CHECKING:
    from convergence.runs.eligibility import EligibilityChecker
    from convergence.runs.ledger import Ledger
    from convergence.security.kms import KeyManager
    from convergence.tenants.api_keys.authentication import Authenticator
    from convergence.tenants.credentials import Credentials
    from convergence.warehouse.client import Warehouse

log = logging.getLogger(__name__)

# A paused DAG is noticed within this time; until then a trigger costs one call to Airflow, not two.
_DAG_STATE_SECONDS = 2.0


class ApiServices:
    """One per process. Each service is connected at its first use, so that no start blocks."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._dag_states: TTLCache[str, DagState] = TTLCache(maxsize=4096, ttl=_DAG_STATE_SECONDS)

    @cached_property
    def store(self) -> StateStore:
        """The state store: everything that must be atomic."""
        return StateStore.connect(self.settings.state_url)

    @cached_property
    def cache_versions(self) -> CacheVersions:
        """Versions of the orgs' data, by which this process discards what it has cached."""
        return CacheVersions(self.store)

    @cached_property
    def denied_requests(self) -> DeniedRequests:
        """Denied requests, for the audit log."""
        return DeniedRequests(self.store)

    @cached_property
    def airflow(self) -> AirflowClient:
        """Airflow's REST API."""
        return AirflowClient.connect(self.settings)

    @cached_property
    def stalls(self) -> StallWatch:
        """Detects that no task begins."""
        return StallWatch(self.airflow, after=self.settings.platform_stall)

    @cached_property
    def limiter(self) -> RateLimiter:
        """Limits of request rates."""
        return RateLimiter.connect(self.settings)

    @cached_property
    def catalog(self) -> Catalog:
        """The pipelines that can be run."""
        return Catalog(self.settings.configs_dir)

    @cached_property
    def idempotency(self) -> Idempotency:
        """Claims of requests by their idempotency keys."""
        return Idempotency(self.store)

    @cached_property
    def operations(self) -> Operations:
        """Operations: calls that run a platform DAG."""
        return Operations(self.airflow, self.catalog)

    @cached_property
    def records(self) -> RunRecords:
        """Records of runs and their steps."""
        return RunRecords(self.store)

    @cached_property
    def warehouse(self) -> Warehouse:
        """BigQuery."""
        from convergence.warehouse.client import Warehouse, WarehouseTimeouts

        # A caller waits for the response: give up long before a task would.
        timeouts = WarehouseTimeouts(call=10.0, retry=15.0, query=45.0)
        return Warehouse.connect(self.settings, timeouts=timeouts)

    @cached_property
    def kms(self) -> KeyManager:
        """The key service, for encryption only: no code of this process decrypts."""
        from convergence.security.kms import connect_kms

        return connect_kms(self.settings)

    @cached_property
    def gate(self) -> EligibilityChecker:
        """Eligibility of organizations to run."""
        from convergence.runs.eligibility import EligibilityChecker

        return EligibilityChecker(self.warehouse, cache_versions=self.cache_versions)

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger of published slices."""
        from convergence.runs.ledger import Ledger

        return Ledger(self.warehouse)

    @cached_property
    def authenticator(self) -> Authenticator:
        """Authenticates API keys."""
        from convergence.tenants.api_keys.authentication import Authenticator
        from convergence.tenants.api_keys.key_digests import KeyDigests

        digests = KeyDigests(self.store, self.warehouse)
        return Authenticator(self.warehouse, digests=digests, cache_versions=self.cache_versions)

    @cached_property
    def credentials(self) -> Credentials:
        """The orgs' provider credentials, write-only in this process."""
        from convergence.tenants.credentials import Credentials

        return Credentials(self.store, self.warehouse, self.kms)

    def get_table_id(self, provider: str | None) -> str | None:
        """Return the name of a pipeline's provider in tables; None for no provider."""
        from convergence.providers.registry import load_registry

        return load_registry(self.settings).get(provider).table_id if provider else None

    def check_warehouse(self) -> None:
        """Send BigQuery the cheapest request."""
        client, brief = self.warehouse.client, self.warehouse.retry.with_timeout(4.0)
        next(iter(client.list_datasets(max_results=1, timeout=5.0, retry=brief)), None)

    async def get_dag_state(self, dag_id: str) -> DagState:
        """Return the state of a DAG, at most two seconds old."""
        state = self._dag_states.get(dag_id)
        if state is None:
            state = self._dag_states[dag_id] = await self.airflow.get_dag(dag_id)
        return state

    async def check_dag(self, dag_id: str) -> PipelineUnavailableError | None:
        """Return why a run of the DAG would not start now, None when it would.

        The state of the DAG is at most two seconds old.

        Raises:
            OrchestratorUnavailableError: Airflow does not respond.
        """
        try:
            return readiness.check_readiness(await self.get_dag_state(dag_id))
        except PipelineUnavailableError as error:
            return error

    def forget_dag(self, dag_id: str) -> None:
        """Discard the cached state of a DAG: the next trigger reads it from Airflow."""
        self._dag_states.pop(dag_id, None)

    async def close(self) -> None:
        """Close every service that was connected."""
        opened = vars(self)
        if "denied_requests" in opened:
            with suppress(ConvergenceError):
                await run_in_threadpool(self.denied_requests.flush)
        if "airflow" in opened:
            await self.airflow.close()
        for name in ("kms", "store"):
            if name in opened:
                opened[name].close()
        if "warehouse" in opened:
            self.warehouse.client.close()


def services_of(request: Request) -> ApiServices:
    """Return the services of the app that serves this request."""
    found = request.app.state.services
    assert isinstance(found, ApiServices)  # noqa: S101 - create_app sets nothing else
    return found
