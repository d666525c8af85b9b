"""Provider credentials in the warehouse: replaced whole, opened by their owner only."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from convergence.errors import DecryptionError, IntegrationInvalidError, NotFoundError
from convergence.providers.registry import load_registry
from convergence.providers.validation import validate_credential
from convergence.security.redaction import redact
from convergence.settings import Settings
from convergence.tenants.credentials import Credential, Credentials
from convergence.warehouse.client import Warehouse
from support.tenant_owner import BY, NOW, NewOrg

FIRST = "sk-admin-sandbox-first"
SECOND = "sk-admin-sandbox-second"


@pytest.fixture
def org(new_org: NewOrg) -> str:
    return new_org()


def put(
    credentials: Credentials, org: str, secret: str = FIRST, *, later: timedelta = timedelta(0)
) -> Credential:
    return credentials.store_credential(
        org,
        "OPENAI",
        secret,
        credential_name="main",
        validation_status="VALID",
        by=BY,
        now=NOW + later,
    )


def rows_of(warehouse: Warehouse, org: str) -> list[dict[str, object]]:
    sql = f"""
        SELECT * FROM organizations.org_integration_credentials
        WHERE org_slug = '{org}' ORDER BY created_at
    """  # the slug is the test's own
    return [dict(row.items()) for row in warehouse.client.query_and_wait(sql)]


def test_a_credential_is_opened_by_its_owner_and_masked_from_then_on(
    credentials: Credentials, org: str
) -> None:
    stored = put(credentials, org)
    assert credentials.decrypt_credential(org, "OPENAI") == FIRST
    assert FIRST not in redact(f"a log line with {FIRST}")
    assert FIRST not in repr(stored)
    assert credentials.get_credential(org, "OPENAI") == stored


def test_a_new_credential_replaces_the_old_and_drops_its_ciphertext(
    credentials: Credentials, warehouse: Warehouse, org: str
) -> None:
    first = put(credentials, org)
    second = put(credentials, org, SECOND, later=timedelta(days=9))
    assert credentials.decrypt_credential(org, "OPENAI") == SECOND
    assert credentials.list_credentials(org) == [second]
    assert first.fingerprint != second.fingerprint
    old, new = rows_of(warehouse, org)
    assert (old["status"], old["ciphertext"]) == ("DELETED", None)
    assert new["status"] == "ACTIVE"
    # History is counted from the first connection, however often the key changes.
    assert second.connected_on == NOW.date()


def test_a_removed_credential_leaves_no_ciphertext(
    credentials: Credentials, warehouse: Warehouse, org: str
) -> None:
    put(credentials, org)
    credentials.delete_credential(org, "OPENAI", by=BY, now=NOW)
    (row,) = rows_of(warehouse, org)
    assert (row["status"], row["ciphertext"]) == ("DELETED", None)
    assert credentials.list_credentials(org) == []
    with pytest.raises(IntegrationInvalidError):
        credentials.decrypt_credential(org, "OPENAI")
    with pytest.raises(NotFoundError):
        credentials.delete_credential(org, "OPENAI", by=BY, now=NOW)


def test_replacing_touches_no_other_org_and_no_other_provider(
    credentials: Credentials, new_org: NewOrg
) -> None:
    mine, other = new_org(), new_org()
    put(credentials, other)
    credentials.store_credential(
        mine,
        "ANTHROPIC",
        "sk-ant-admin01-abcdefgh",
        credential_name="claude",
        validation_status="PENDING",
        validation_error="no answer",
        by=BY,
        now=NOW,
    )
    put(credentials, mine)
    put(credentials, mine, SECOND, later=timedelta(days=1))
    assert credentials.decrypt_credential(other, "OPENAI") == FIRST
    assert credentials.decrypt_credential(mine, "ANTHROPIC") == "sk-ant-admin01-abcdefgh"
    assert [item.provider for item in credentials.list_credentials(mine)] == ["ANTHROPIC", "OPENAI"]


def test_a_ciphertext_moved_to_another_row_does_not_open(
    credentials: Credentials, warehouse: Warehouse, new_org: NewOrg
) -> None:
    owner, thief = new_org(), new_org()
    put(credentials, owner)
    put(credentials, thief, SECOND)
    warehouse.client.query_and_wait(
        f"""
        UPDATE organizations.org_integration_credentials
        SET ciphertext = (
          SELECT ANY_VALUE(ciphertext) FROM organizations.org_integration_credentials
          WHERE org_slug = '{owner}'
        )
        WHERE org_slug = '{thief}'
        """  # the slugs are the test's own
    )
    with pytest.raises(DecryptionError):
        credentials.decrypt_credential(thief, "OPENAI")
    # Other tests rotate all ciphertexts of this warehouse, and all must decrypt.
    credentials.delete_credential(thief, "OPENAI", by=BY, now=NOW)


def test_a_row_moved_whole_to_another_org_does_not_open(
    credentials: Credentials, warehouse: Warehouse, new_org: NewOrg
) -> None:
    owner, thief = new_org(), new_org()
    put(credentials, owner)
    warehouse.client.query_and_wait(
        f"""
        UPDATE organizations.org_integration_credentials SET org_slug = '{thief}'
        WHERE org_slug = '{owner}'
        """  # the slugs are the test's own
    )
    with pytest.raises(DecryptionError):
        credentials.decrypt_credential(thief, "OPENAI")
    # Other tests rotate all ciphertexts of this warehouse, and all must decrypt.
    credentials.delete_credential(thief, "OPENAI", by=BY, now=NOW)


def test_a_later_validation_is_recorded(credentials: Credentials, org: str) -> None:
    stored = put(credentials, org)
    later = NOW + timedelta(hours=1)
    credentials.record_validation(
        org, stored.credential_id, status="INVALID", error="revoked", now=later
    )
    found = credentials.get_credential(org, "OPENAI")
    assert (found.validation_status, found.validation_error) == ("INVALID", "revoked")
    assert found.last_validated_at == later
    assert found.connected_on == date(2026, 11, 21)


@pytest.mark.parametrize(
    ("secret", "status"),
    [
        ("sk-admin-sandbox-acme", "VALID"),
        ("sk-proj-sandbox-acme", "INVALID"),
        ("sk-unknown-key", "INVALID"),
    ],
)
def test_openai_says_which_keys_it_takes(settings: Settings, secret: str, status: str) -> None:
    found = validate_credential(
        load_registry(settings).get("openai"), secret, settings=settings, now=NOW
    )
    assert found.status == status, found.error
