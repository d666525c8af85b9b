"""The central dataset as bootstrap makes it on the session's sandbox, and orgs with keys in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from convergence.security.kms import KeyManager, connect_kms
from convergence.settings import Settings
from convergence.state.store import StateStore
from convergence.tenants import orgs, subscriptions
from convergence.tenants.api_keys.keys import issue_key
from convergence.tenants.credentials import Credentials
from convergence.tenants.datasets import describe_central_dataset
from convergence.tenants.encryption import rotate_kms
from convergence.warehouse.client import Warehouse
from convergence.warehouse.tables.bootstrap import build_layout, central_layout
from support.sandbox_process import SandboxProcess
from support.tenant_owner import ANTHROPIC, BY, NOW, OPENAI, NewOrg, Owner, put

KEY = "projects/local-dev-project/locations/global/keyRings/convergence/cryptoKeys/credentials"


@pytest.fixture(scope="session")
def settings(sandbox: SandboxProcess) -> Settings:
    return Settings.model_validate(
        {
            "bigquery_emulator_host": sandbox.bigquery,
            "kms_emulator_host": sandbox.kms,
            "openai_base_url": f"{sandbox.providers}/openai/v1",
            "kms_key_name": KEY,
        }
    )


@pytest.fixture(scope="session")
def warehouse(settings: Settings) -> Iterator[Warehouse]:
    warehouse = Warehouse.connect(settings)
    kind = describe_central_dataset(settings)
    build_layout(
        warehouse,
        central_layout(settings.configs_dir),
        dataset=kind.name,
        description=kind.description,
        labels=kind.labels,
    )
    yield warehouse
    warehouse.client.close()


@pytest.fixture(scope="session")
def kms(settings: Settings) -> Iterator[KeyManager]:
    with connect_kms(settings) as manager:
        yield manager


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    store = StateStore.connect(f"sqlite:///{tmp_path / 'state.db'}")
    yield store
    store.close()


@pytest.fixture
def credentials(store: StateStore, warehouse: Warehouse, kms: KeyManager) -> Credentials:
    return Credentials(store, warehouse, kms)


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    return itertools.count(1)


@pytest.fixture
def new_org(store: StateStore, warehouse: Warehouse, numbers: Iterator[int]) -> NewOrg:
    """Onboards an org of its own for the test that calls it."""

    def onboard() -> str:
        slug = f"org_{next(numbers)}"
        orgs.create_profile(
            store,
            warehouse,
            org_slug=slug,
            company_name="Org & Söhne",
            admin_email="cfo@org.example",
            dataset_id=f"{slug}_dev",
            by=BY,
            now=NOW,
        )
        subscriptions.create_subscription(
            store, warehouse, org_slug=slug, plan="STARTER", by=BY, now=NOW
        )
        return slug

    return onboard


@pytest.fixture
def owner(
    store: StateStore,
    warehouse: Warehouse,
    kms: KeyManager,
    *,
    credentials: Credentials,
    new_org: NewOrg,
) -> Owner:
    owner = Owner(new_org(), warehouse, kms)
    put(credentials, owner.slug, "OPENAI", OPENAI)
    put(credentials, owner.slug, "ANTHROPIC", ANTHROPIC)
    for _ in range(2):
        key = issue_key(store, warehouse, kms, owner.slug, scopes=["all"], by=BY, now=NOW)
        owner.key_ids.append(key.key_id)
        owner.secrets.append(key.secret)
    return owner


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(rotate_kms, "_print_line", lines.append)
    return lines
