"""The rooms below, connected for one API process, and the request's way to them."""

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
from convergence.api.http.denied_requests import Refusals
from convergence.api.http.idempotency import Once
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
    from convergence.tenants.authentication import Authenticator
    from convergence.tenants.credentials import Credentials
    from convergence.warehouse.client import Warehouse

log = logging.getLogger(__name__)

# A pause takes effect within this time; in between a trigger costs one call to Airflow, not two.
_DAG_STATE_SECONDS = 2.0


class Services:
    """One per process. Each room is connected when first used: nothing here blocks a start."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._dag_states: TTLCache[str, DagState] = TTLCache(maxsize=4096, ttl=_DAG_STATE_SECONDS)

    @cached_property
    def store(self) -> StateStore:
        """What must be atomic."""
        return StateStore.connect(self.settings.state_url)

    @cached_property
    def epochs(self) -> CacheVersions:
        """Tells when what this process remembers of an org is no longer so."""
        return CacheVersions(self.store)

    @cached_property
    def refusals(self) -> Refusals:
        """What was refused, for the audit log."""
        return Refusals(self.store)

    @cached_property
    def airflow(self) -> AirflowClient:
        """Airflow's REST API."""
        return AirflowClient.connect(self.settings)

    @cached_property
    def stalls(self) -> StallWatch:
        """Notices that no task begins."""
        return StallWatch(self.airflow, after=self.settings.platform_stall)

    @cached_property
    def limiter(self) -> RateLimiter:
        """Request rates."""
        return RateLimiter.connect(self.settings)

    @cached_property
    def catalog(self) -> Catalog:
        """What can be run."""
        return Catalog(self.settings.configs_dir)

    @cached_property
    def once(self) -> Once:
        """One effect per request."""
        return Once(self.store)

    @cached_property
    def operations(self) -> Operations:
        """Calls that are a platform DAG."""
        return Operations(self.airflow, self.catalog)

    @cached_property
    def records(self) -> RunRecords:
        """Runs and their steps."""
        return RunRecords(self.store)

    @cached_property
    def warehouse(self) -> Warehouse:
        """BigQuery."""
        from convergence.warehouse.client import Warehouse, WarehouseTimeouts

        # A caller waits for the answer: give up long before a task would.
        timeouts = WarehouseTimeouts(call=10.0, retry=15.0, query=45.0)
        return Warehouse.connect(self.settings, timeouts=timeouts)

    @cached_property
    def kms(self) -> KeyManager:
        """Encryption only: nothing in this process decrypts."""
        from convergence.security.kms import connect_kms

        return connect_kms(self.settings)

    @cached_property
    def gate(self) -> EligibilityChecker:
        """Who may run."""
        from convergence.runs.eligibility import EligibilityChecker

        return EligibilityChecker(self.warehouse, cache_versions=self.epochs)

    @cached_property
    def ledger(self) -> Ledger:
        """What is published."""
        from convergence.runs.ledger import Ledger

        return Ledger(self.warehouse)

    @cached_property
    def authenticator(self) -> Authenticator:
        """From a key to its org."""
        from convergence.tenants.authentication import Authenticator
        from convergence.tenants.key_digests import KeyDigests

        digests = KeyDigests(self.store, self.warehouse)
        return Authenticator(self.warehouse, digests=digests, cache_versions=self.epochs)

    @cached_property
    def credentials(self) -> Credentials:
        """The orgs' provider credentials; this process only puts them in."""
        from convergence.tenants.credentials import Credentials

        return Credentials(self.store, self.warehouse, self.kms)

    def table_id(self, provider: str | None) -> str | None:
        """A pipeline's provider as tables name it; None where a pipeline needs none."""
        from convergence.providers.registry import load_registry

        return load_registry(self.settings).get(provider).table_id if provider else None

    def warehouse_check(self) -> None:
        """Ask BigQuery the cheapest question there is."""
        client, brief = self.warehouse.client, self.warehouse.retry.with_timeout(4.0)
        next(iter(client.list_datasets(max_results=1, timeout=5.0, retry=brief)), None)

    async def dag_state(self, dag_id: str) -> DagState:
        """How a DAG stands, at most two seconds old."""
        known = self._dag_states.get(dag_id)
        if known is None:
            known = self._dag_states[dag_id] = await self.airflow.dag(dag_id)
        return known

    async def not_ready(self, dag_id: str) -> PipelineUnavailableError | None:
        """Why a run of the DAG would not start now, by a state at most two seconds old.

        Raises:
            OrchestratorUnavailableError: Airflow does not answer.
        """
        try:
            return readiness.check_readiness(await self.dag_state(dag_id))
        except PipelineUnavailableError as error:
            return error

    def forget_dag(self, dag_id: str) -> None:
        """Ask Airflow again before the next trigger."""
        self._dag_states.pop(dag_id, None)

    async def close(self) -> None:
        """Close what was opened."""
        opened = vars(self)
        if "refusals" in opened:
            with suppress(ConvergenceError):
                await run_in_threadpool(self.refusals.flush)
        if "airflow" in opened:
            await self.airflow.close()
        for name in ("kms", "store"):
            if name in opened:
                opened[name].close()
        if "warehouse" in opened:
            self.warehouse.client.close()


def services_of(request: Request) -> Services:
    """The services of the app that serves this request."""
    found = request.app.state.services
    assert isinstance(found, Services)  # noqa: S101 - create_app sets nothing else
    return found
