"""An org's life in the warehouse: profile, plan, keys, and who may run."""

from __future__ import annotations

from datetime import timedelta

import pytest

from convergence.errors import NotAuthenticatedError, NotFoundError, RequestError
from convergence.runs.eligibility import EligibilityChecker
from convergence.security.keys import compute_digest
from convergence.security.kms import KeyManager, api_key_aad
from convergence.state.store import StateStore
from convergence.tenants import orgs, quotas, subscriptions
from convergence.tenants.api_keys import keys
from convergence.tenants.api_keys.authentication import Authenticator
from convergence.tenants.api_keys.keys import IssuedKey
from convergence.tenants.credentials import Credentials
from convergence.tenants.shipping import ship_outbox
from convergence.warehouse.client import Warehouse
from support.tenant_owner import BY, NOW, NewOrg

SCOPES = ("pipelines:read", "pipelines:run")


@pytest.fixture
def org(new_org: NewOrg) -> str:
    return new_org()


@pytest.fixture
def issued(store: StateStore, warehouse: Warehouse, kms: KeyManager, org: str) -> IssuedKey:
    return keys.issue_key(store, warehouse, kms, org, scopes=SCOPES, by=BY, now=NOW)


def rows_of(warehouse: Warehouse, table: str, org: str) -> list[dict[str, object]]:
    sql = f"SELECT * FROM organizations.{table} WHERE org_slug = '{org}'"  # ours
    return [dict(row.items()) for row in warehouse.client.query_and_wait(sql)]


def test_creating_an_org_again_changes_nothing(
    store: StateStore, warehouse: Warehouse, org: str
) -> None:
    first = orgs.get_org(warehouse, org)
    again = orgs.create_profile(
        store,
        warehouse,
        org_slug=org,
        company_name="Another name",
        admin_email="other@org.example",
        dataset_id="other_dev",
        by=BY,
        now=NOW + timedelta(days=1),
    )
    assert again == first
    assert first.company_name == "Org & Söhne"
    assert first in orgs.list_orgs(warehouse)
    assert orgs.find_org(warehouse, "no_such_org") is None
    with pytest.raises(NotFoundError):
        orgs.get_org(warehouse, "no_such_org")


def test_onboarding_resumed_keeps_what_an_admin_changed(
    store: StateStore, warehouse: Warehouse, org: str
) -> None:
    subscriptions.update_subscription(
        store, warehouse, org_slug=org, status="past_due", by=BY, now=NOW
    )
    subscriptions.create_subscription(
        store, warehouse, org_slug=org, plan="STARTER", by=BY, now=NOW
    )
    assert subscriptions.get_subscription(warehouse, org).status == "SUSPENDED"
    assert len(rows_of(warehouse, "org_subscriptions", org)) == 1
    assert len(rows_of(warehouse, "org_usage_quotas", org)) == 1


def test_a_new_plan_brings_its_limits(store: StateStore, warehouse: Warehouse, org: str) -> None:
    later = NOW + timedelta(days=1)
    changed = subscriptions.update_subscription(
        store, warehouse, org_slug=org, status="active", plan="SCALE", by=BY, now=later
    )
    assert (changed.plan, changed.status, changed.updated_at) == ("SCALE", "ACTIVE", later)
    assert quotas.get_quota(warehouse, org).runs_per_day == quotas.get_plan("SCALE").runs_per_day


def test_a_change_that_makes_no_sense_changes_nothing(
    store: StateStore, warehouse: Warehouse, org: str
) -> None:
    before = subscriptions.get_subscription(warehouse, org)
    for status, plan in (("TRIAL", None), ("nonsense", None), ("ACTIVE", "GOLD")):
        with pytest.raises(RequestError):
            subscriptions.update_subscription(
                store, warehouse, org_slug=org, status=status, plan=plan, by=BY, now=NOW
            )
    assert subscriptions.get_subscription(warehouse, org) == before
    with pytest.raises(NotFoundError):
        subscriptions.update_subscription(
            store, warehouse, org_slug="nobody", status="ACTIVE", by=BY, now=NOW
        )


def test_a_trial_ends_when_it_was_said_to(
    store: StateStore, warehouse: Warehouse, org: str
) -> None:
    ends = NOW + timedelta(days=14)
    held = subscriptions.update_subscription(
        store, warehouse, org_slug=org, status="trialing", trial_ends_at=ends, by=BY, now=NOW
    )
    assert held.allows_runs(ends - timedelta(seconds=1))
    assert not held.allows_runs(ends)


def test_an_issued_key_opens_its_org_until_it_is_revoked(
    store: StateStore, warehouse: Warehouse, issued: IssuedKey
) -> None:
    authenticator = Authenticator(warehouse)
    principal = authenticator.authenticate(issued.secret)
    assert (principal.org_slug, principal.key_id) == (issued.org_slug, issued.key_id)
    assert principal.scopes == set(SCOPES)
    keys.revoke_key(
        store, warehouse, org_slug=issued.org_slug, key_id=issued.key_id, by=BY, now=NOW
    )
    authenticator.forget_key(issued.key_id)
    with pytest.raises(NotAuthenticatedError):
        authenticator.authenticate(issued.secret)
    (known,) = keys.list_keys(warehouse, issued.org_slug)
    assert (known.status, known.revoked_at) == ("REVOKED", NOW)


def test_another_orgs_key_can_not_be_revoked(
    store: StateStore, warehouse: Warehouse, issued: IssuedKey, new_org: NewOrg
) -> None:
    with pytest.raises(NotFoundError):
        keys.revoke_key(store, warehouse, org_slug=new_org(), key_id=issued.key_id, by=BY, now=NOW)
    Authenticator(warehouse).authenticate(issued.secret)


def test_a_key_is_stored_as_digest_and_bound_ciphertext_only(
    warehouse: Warehouse, kms: KeyManager, issued: IssuedKey
) -> None:
    (row,) = rows_of(warehouse, "org_api_keys", issued.org_slug)
    assert row["key_hash"] == compute_digest(issued.secret)
    assert row["last_four"] == issued.secret[-4:] == issued.last_four
    assert row["created_by"] == "admin"
    assert issued.secret not in repr(row) + repr(issued)
    aad = api_key_aad(issued.org_slug, issued.key_id)
    ciphertext = row["key_ciphertext"]
    assert isinstance(ciphertext, bytes)
    assert kms.decrypt(ciphertext, aad=aad).decode() == issued.secret


def test_the_gate_asks_for_everything_an_org_needs(
    store: StateStore, warehouse: Warehouse, new_org: NewOrg, credentials: Credentials
) -> None:
    ready, unconnected, suspended = new_org(), new_org(), new_org()
    for org in (ready, suspended):
        credentials.store_credential(
            org,
            "OPENAI",
            "sk-admin-sandbox-acme",
            credential_name="main",
            validation_status="VALID",
            by=BY,
            now=NOW,
        )
    subscriptions.update_subscription(
        store, warehouse, org_slug=suspended, status="paused", by=BY, now=NOW
    )
    chosen = EligibilityChecker(warehouse).select_orgs(
        provider="OPENAI", now=NOW, org_slugs=[ready, unconnected, suspended, "no_such_org"]
    )
    assert [standing.org_slug for standing in chosen.eligible] == [ready]
    assert {org: why.code for org, why in chosen.denied} == {
        unconnected: "integration_invalid",
        suspended: "subscription_inactive",
    }
    (standing,) = chosen.eligible
    assert standing.connected_on == NOW.date()
    assert standing.limits is not None
    assert standing.limits.runs_per_day == quotas.get_plan("STARTER").runs_per_day
    everyone = EligibilityChecker(warehouse).select_orgs(provider=None, now=NOW)
    known = {standing.org_slug for standing in everyone.eligible}
    assert {ready, unconnected} <= known
    assert suspended not in known


def test_every_change_is_in_the_audit_and_no_secret_is(
    store: StateStore, warehouse: Warehouse, issued: IssuedKey
) -> None:
    assert ship_outbox(store, warehouse) > 0
    sql = """
        SELECT action, result, actor, request_id, target FROM organizations.org_audit_logs
        WHERE occurred_at >= '2020-01-01' AND org_slug = @org
        ORDER BY occurred_at, action, result
    """
    from google.cloud import bigquery

    parameter = bigquery.ScalarQueryParameter("org", "STRING", issued.org_slug)
    config = bigquery.QueryJobConfig(query_parameters=[parameter])
    rows = [dict(row.items()) for row in warehouse.client.query_and_wait(sql, job_config=config)]
    told = {(row["action"], row["result"]) for row in rows}
    actions = ("organization.create", "subscription.create", "quota.apply", "api_key.issue")
    assert told == {(action, how) for action in actions for how in ("ATTEMPTED", "SUCCEEDED")}
    assert {row["actor"] for row in rows} == {"admin"}
    assert issued.secret not in repr(rows)
