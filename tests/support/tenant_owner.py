"""Who acts and when; an org with credentials and keys that are known in clear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from convergence.security.kms import KeyManager, api_key_aad
from convergence.tenants.audit import Actor
from convergence.tenants.credentials import Credentials
from convergence.tenants.encryption import kms_register
from convergence.warehouse.client import Warehouse

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
BY = Actor("root", "admin", request_id="req_1")
NewOrg = Callable[[], str]
OPENAI, ANTHROPIC = "sk-admin-sandbox-rotate", "sk-ant-admin01-rotate"


@dataclass
class Owner:
    """An org with two credentials and two keys, and what they are in clear."""

    slug: str
    warehouse: Warehouse
    kms: KeyManager
    key_ids: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)

    def rows(self, table: str) -> list[dict[str, Any]]:
        sql = f"SELECT * FROM organizations.{table} WHERE org_slug = '{self.slug}'"  # ours
        return [dict(row.items()) for row in self.warehouse.client.query_and_wait(sql)]

    def register(self) -> list[dict[str, Any]]:
        sql = f"""
            SELECT subject_id, status, reason, kms_key_version FROM organizations.org_kms_keys
            WHERE org_slug = '{self.slug}' AND recorded_at > TIMESTAMP '2026-01-01'
        """  # the slug is the test's own
        return [dict(row.items()) for row in self.warehouse.client.query_and_wait(sql)]

    def audit(self) -> list[dict[str, Any]]:
        sql = f"""
            SELECT action, result, details FROM organizations.org_audit_logs
            WHERE org_slug = '{self.slug}' AND occurred_at > TIMESTAMP '2026-01-01'
            ORDER BY sequence
        """  # the slug is the test's own
        return [dict(row.items()) for row in self.warehouse.client.query_and_wait(sql)]

    def versions(self) -> set[str]:
        """The key versions of all that is encrypted."""
        credentials = self.rows("org_integration_credentials")
        found = {row["kms_key_version"] for row in credentials if row["ciphertext"]}
        keys = self.rows("org_api_keys")
        return found | {row["kms_key_version"] for row in keys if row["key_ciphertext"]}

    def assert_readable(self, credentials: Credentials) -> None:
        """Nothing is lost: each opens for its owner, to what it was."""
        assert credentials.decrypt_credential(self.slug, "OPENAI") == OPENAI
        assert credentials.decrypt_credential(self.slug, "ANTHROPIC") == ANTHROPIC
        found = {row["key_id"]: row["key_ciphertext"] for row in self.rows("org_api_keys")}
        opened = [
            self.kms.decrypt(found[key_id], aad=api_key_aad(self.slug, key_id)).decode()
            for key_id in self.key_ids
        ]
        assert opened == self.secrets


def put(credentials: Credentials, org: str, provider: str, secret: str) -> str:
    return credentials.store_credential(
        org,
        provider,
        secret,
        credential_name="main",
        validation_status="VALID",
        by=BY,
        now=NOW,
    ).credential_id


def registered(warehouse: Warehouse, org: str) -> dict[str, set[str]]:
    """What each version protects, as the register and the ciphertexts agree."""
    found: dict[str, set[str]] = {}
    for one in kms_register.list_protected(warehouse, orgs=[org]):
        assert one.since is not None
        found.setdefault(one.kms_key_version, set()).update(one.ids)
    return found
