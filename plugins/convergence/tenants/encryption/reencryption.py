"""Re-encrypt all ciphertexts with one KMS key version, then exchange them in their rows.

A row is exchanged only while it still has the ciphertext that was read, and only for a ciphertext
that was decrypted successfully: a credential that is replaced meanwhile stays. After a kill at any
point each row is readable, under the old version or the new one. Another run does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from convergence.errors import DecryptionError
from convergence.security.kms import KeyManager, api_key_aad, credential_aad
from convergence.state.store import StateStore
from convergence.tenants.audit import Actor, AuditedAction, AuditedChange, audit_change
from convergence.tenants.encryption import kms_register
from convergence.tenants.encryption.kms_register import Subject, SubjectKind
from convergence.warehouse.client import Warehouse
from convergence.warehouse.query import Row, run_dml, run_file

# BigQuery queues the changes of one table and refuses them beyond about twenty.
PARALLEL_ORGS = 4
# The ciphertexts of one statement travel in it, and a request has 10 MB.
ROWS_PER_STATEMENT = 50

_STATEMENTS: dict[SubjectKind, str] = {
    "credential": "tenants/credentials_reencrypt.sql",
    "api_key": "tenants/keys_reencrypt.sql",
}


@dataclass(frozen=True)
class OrgReencryption:
    """The result of re-encrypting one org's ciphertexts.

    Attributes:
        moved: how many are under the new version now.
        changed: how many were replaced, removed or revoked meanwhile, and left alone.
        unreadable: ids of those that do not decrypt, and were left alone.
    """

    org_slug: str
    moved: int
    changed: int = 0
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReencryptionPass:
    """One pass over all orgs.

    Attributes:
        kms: the key; this process needs to decrypt with it too.
        version: resource name of the version that all ciphertexts shall be under.
        by: who asks for it, for the audit.
    """

    store: StateStore
    warehouse: Warehouse
    kms: KeyManager
    version: str
    by: Actor

    def count_outdated(self) -> dict[str, int]:
        """Count the ciphertexts with another key version, by org; orgs without one are left out."""
        path = self.warehouse.sql("tenants/kms_outdated_orgs.sql")
        rows = run_file(self.warehouse, path, params={"version": self.version})
        return {row["org_slug"]: row["ciphertexts"] for row in rows}

    def reencrypt_orgs(
        self, orgs: Sequence[str], *, now: datetime, report: Callable[[OrgReencryption], None]
    ) -> list[OrgReencryption]:
        """Re-encrypt the orgs' ciphertexts with the version, a few orgs at a time.

        Args:
            orgs: whose.
            now: the instant.
            report: called with each org's result, from several threads.

        Raises:
            KeyServiceUnavailableError, WarehouseUnavailableError, StateUnavailableError: what was
                done is done; run it again for the rest.
        """

        def one(org_slug: str) -> OrgReencryption:
            outcome = self.reencrypt_org(org_slug, now=now)
            report(outcome)
            return outcome

        with ThreadPoolExecutor(PARALLEL_ORGS, "reencrypt") as pool:
            futures = [pool.submit(one, org_slug) for org_slug in orgs]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
            # Raise the first failure, not the cancellation of the futures after it.
            failed = [one for one in futures if not one.cancelled() and one.exception()]
            return [future.result() for future in failed or futures]

    def reencrypt_org(self, org_slug: str, *, now: datetime) -> OrgReencryption:
        """Re-encrypt one org's outdated ciphertexts with the version."""
        path = self.warehouse.sql("tenants/kms_outdated.sql")
        params = {"org_slug": org_slug, "version": self.version}
        rows = run_file(self.warehouse, path, params=params)
        if not rows:
            return OrgReencryption(org_slug, 0)
        act = AuditedAction(org_slug, self.by, "kms.reencrypt", self.version)
        with audit_change(self.store, act, now=now, details={"ciphertexts": len(rows)}) as change:
            outcome = self._exchange_ciphertexts(org_slug, rows, change=change, now=now)
            change.details |= {"moved": outcome.moved, "unreadable": list(outcome.unreadable)}
        return outcome

    def _exchange_ciphertexts(
        self, org_slug: str, rows: Sequence[Row], *, change: AuditedChange, now: datetime
    ) -> OrgReencryption:
        moved, unreadable = 0, []
        for kind, batch in _split_into_batches(rows):
            fresh = []
            for row in batch:
                try:
                    fresh.append(self._reencrypt_row(org_slug, kind, row))
                except DecryptionError:
                    unreadable.append(str(row["id"]))
            count = self._exchange_rows(org_slug, kind, fresh)
            moved += count
            if count == len(fresh):
                # With some changed meanwhile, `repair_register` adds the missing rows afterwards.
                self._register_rows(org_slug, kind, fresh, change=change, now=now)
        changed = len(rows) - moved - len(unreadable)
        return OrgReencryption(org_slug, moved, changed, tuple(unreadable))

    def _reencrypt_row(self, org_slug: str, kind: SubjectKind, row: Row) -> dict[str, object]:
        """Return a new ciphertext for a row, after checking that it decrypts to the same value.

        Raises:
            DecryptionError: the row's ciphertext does not decrypt for its owner.
        """
        if kind == "credential":
            aad = credential_aad(org_slug, row["provider"], row["id"])
        else:
            aad = api_key_aad(org_slug, row["id"])
        plaintext = self.kms.decrypt(row["ciphertext"], aad=aad)
        sealed = self.kms.encrypt(plaintext, aad=aad)
        if self.kms.decrypt(sealed.data, aad=aad) != plaintext:
            raise DecryptionError("The new ciphertext does not decrypt to the same plaintext")
        return {
            "id": row["id"],
            "before": row["ciphertext"],
            "ciphertext": sealed.data,
            "kms_key_version": sealed.key_version,
        }

    def _exchange_rows(
        self, org_slug: str, kind: SubjectKind, fresh: Sequence[dict[str, object]]
    ) -> int:
        """Exchange what still is as it was read; how many were."""
        if not fresh:
            return 0
        path = self.warehouse.sql(_STATEMENTS[kind])
        params = {"org_slug": org_slug, "fresh": list(fresh)}
        return run_dml(self.warehouse, path, params=params)

    def _register_rows(
        self,
        org_slug: str,
        kind: SubjectKind,
        fresh: Sequence[dict[str, object]],
        *,
        change: AuditedChange,
        now: datetime,
    ) -> None:
        for one in fresh:
            change.add_write(
                partial(
                    kms_register.write_version,
                    subject=Subject(org_slug, kind, str(one["id"])),
                    kms_key_version=str(one["kms_key_version"]),
                    reason="ROTATED",
                    now=now,
                )
            )


def _split_into_batches(rows: Sequence[Row]) -> Iterator[tuple[SubjectKind, Sequence[Row]]]:
    kinds: tuple[SubjectKind, ...] = ("credential", "api_key")
    for kind in kinds:
        mine = [row for row in rows if row["kind"] == kind]
        for start in range(0, len(mine), ROWS_PER_STATEMENT):
            yield kind, mine[start : start + ROWS_PER_STATEMENT]
