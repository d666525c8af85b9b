"""Connect the services of one task.

The warehouse uses Airflow's Connection; everything else uses the settings of the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from convergence.processors.context import TaskServices
from convergence.processors.steplog import StepLog
from convergence.settings import get_settings

if TYPE_CHECKING:
    from convergence.tenants.credentials import Credential

GCP_CONN_ID = "google_cloud_default"


@contextmanager
def open_services() -> Iterator[TaskServices]:
    """Connect the services and close them when the block ends."""
    from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook

    from convergence.runs.ledger import Ledger
    from convergence.runs.publisher import Publisher
    from convergence.runs.records import RunRecords
    from convergence.security.kms import connect_kms
    from convergence.state.store import StateStore
    from convergence.tenants.credentials import Credentials
    from convergence.warehouse.client import Warehouse

    settings = get_settings()
    hook = BigQueryHook(
        gcp_conn_id=GCP_CONN_ID, location=settings.bigquery_location, use_legacy_sql=False
    )
    client = hook.get_client(
        project_id=settings.gcp_project_id, location=settings.bigquery_location
    )
    warehouse = Warehouse(client, location=settings.bigquery_location)
    store = StateStore.connect(settings.state_url)
    try:
        ledger = Ledger(warehouse)

        @cache
        def connect_credentials() -> Credentials:
            return Credentials(store, warehouse, connect_kms(settings))

        yield TaskServices(
            settings=settings,
            warehouse=warehouse,
            store=store,
            ledger=ledger,
            publisher=Publisher(warehouse, store, ledger),
            steps=StepLog(store, RunRecords(store)),
            open_credential=lambda org, provider: connect_credentials().decrypt_credential(
                org, find_table_id(provider)
            ),
            provider_of_credential=lambda org, name: find_provider_id(
                connect_credentials().get_named_credential(org, name)
            ),
        )
    finally:
        client.close()
        store.close()


def find_provider_id(credential: Credential) -> str:
    """Return the id of the credential's provider as YAML spells it."""
    from convergence.providers.registry import load_registry

    return load_registry(get_settings()).id_of_table(credential.provider)


def find_table_id(provider: str) -> str:
    """Return the id of a provider as tables spell it: `openai` is OPENAI, `gcp` is GCP_SA."""
    from convergence.providers.registry import load_registry

    return load_registry(get_settings()).get(provider).table_id
