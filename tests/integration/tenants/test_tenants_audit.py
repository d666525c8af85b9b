"""The shipped audit log, verified against its head; tampered with in the warehouse, and named."""

from __future__ import annotations

from datetime import timedelta

import pytest

from convergence.settings import Settings
from convergence.state.store import StateStore
from convergence.tenants import audit_verify, quotas
from convergence.tenants.audit_verify import verify_chains
from convergence.tenants.shipping import ship_outbox
from convergence.warehouse.client import Warehouse
from support.tenant_owner import BY, NOW, NewOrg


@pytest.fixture
def org(new_org: NewOrg, store: StateStore, warehouse: Warehouse) -> str:
    """An org whose log is in the warehouse."""
    slug = new_org()
    ship_outbox(store, warehouse)
    return slug


def test_what_was_shipped_holds_and_so_does_what_waits(
    store: StateStore, warehouse: Warehouse, org: str
) -> None:
    assert verify_chains(store, warehouse, orgs=[org]) == {org: None}
    quotas.apply_plan(store, warehouse, org_slug=org, plan_name="SCALE", by=BY, now=NOW)
    assert verify_chains(store, warehouse, orgs=[org]) == {org: None}
    ship_outbox(store, warehouse)
    assert verify_chains(store, warehouse, orgs=[org]) == {org: None}


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE {log} SET actor = 'key_9' WHERE {org} AND sequence = 2", "hash does not match"),
        ("DELETE FROM {log} WHERE {org} AND sequence = 2", "entry 2: missing"),
        ("DELETE FROM {log} WHERE {org} AND sequence > 3", "ends before its head"),
        (
            "UPDATE {log} SET sequence = 5 - sequence WHERE {org} AND sequence IN (2, 3)",
            "hash does not match",
        ),
    ],
)
def test_tampering_in_the_warehouse_is_named(
    store: StateStore, warehouse: Warehouse, org: str, statement: str, reason: str
) -> None:
    since = (NOW - timedelta(days=1)).isoformat()
    mine = f"org_slug = '{org}' AND occurred_at > TIMESTAMP '{since}'"
    sql = statement.format(log="organizations.org_audit_logs", org=mine)
    warehouse.client.query_and_wait(sql)
    broken = verify_chains(store, warehouse, orgs=[org])[org]
    assert broken is not None
    assert reason in str(broken)


def test_the_tool_names_what_is_broken_and_exits_so(
    store: StateStore,
    warehouse: Warehouse,
    *,
    settings: Settings,
    org: str,
    new_org: NewOrg,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sound = new_org()
    monkeypatch.setattr(audit_verify, "get_settings", lambda: settings)
    monkeypatch.setattr(StateStore, "connect", lambda _url: store)
    assert audit_verify.main([org, sound]) == 0
    assert f"{sound}: holds" in capsys.readouterr().out
    since = (NOW - timedelta(days=1)).isoformat()
    warehouse.client.query_and_wait(
        f"DELETE FROM organizations.org_audit_logs WHERE org_slug = '{org}' "  # ours
        f"AND occurred_at > TIMESTAMP '{since}'"
    )
    assert audit_verify.main([org, sound]) == 1
    assert f"{org}: entry 1: missing" in capsys.readouterr().out
