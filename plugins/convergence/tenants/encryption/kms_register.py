"""The register of ciphertexts: the KMS key version that protects each credential and org key.

A row is committed when a ciphertext was stored or deleted; the newest row of a subject counts.
Rows that a crash prevented are found by comparing the register with the ciphertexts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import Connection

from convergence.state import outbox
from convergence.state.store import StateStore
from convergence.warehouse.client import Warehouse
from convergence.warehouse.query import Row, run_file

KMS_LOG = "org_kms_keys"
BEGINNING = datetime(2020, 1, 1, tzinfo=UTC)

SubjectKind = Literal["credential", "api_key"]
RegisterReason = Literal["ENCRYPTED", "ROTATED", "DELETED"]


@dataclass(frozen=True)
class Subject:
    """Owner of a ciphertext: a credential or an org key, by its id."""

    org_slug: str
    kind: SubjectKind
    id: str


@dataclass(frozen=True)
class ProtectedSubjects:
    """Subjects that one KMS key version protects for one org.

    Attributes:
        since: when the oldest of them was registered; None when none is.
    """

    org_slug: str
    kind: SubjectKind
    kms_key_version: str
    ids: tuple[str, ...]
    since: datetime | None


def write_version(
    conn: Connection,
    subject: Subject,
    *,
    kms_key_version: str,
    reason: RegisterReason,
    now: datetime,
) -> None:
    """Add a row in the caller's transaction: the version protects the subject from now on.

    With the reason DELETED the subject is gone, and the version is the one that protected it.
    """
    row = {
        "org_slug": subject.org_slug,
        "subject_type": subject.kind,
        "subject_id": subject.id,
        "kms_key_name": kms_key_version.rpartition("/cryptoKeyVersions/")[0] or kms_key_version,
        "kms_key_version": kms_key_version,
        "status": "RETIRED" if reason == "DELETED" else "CURRENT",
        "reason": reason,
        "recorded_at": now,
    }
    outbox.enqueue_row(conn, KMS_LOG, row)


def retire_subjects(
    conn: Connection, subjects: Mapping[Subject, str | None], *, now: datetime
) -> None:
    """Add a row for each subject that is gone, from subject to the version that protected it."""
    for subject, version in subjects.items():
        if version is not None:
            write_version(conn, subject, kms_key_version=version, reason="DELETED", now=now)


def list_protected(warehouse: Warehouse, *, orgs: Sequence[str] = ()) -> list[ProtectedSubjects]:
    """Return what each version protects, by org, read from the ciphertexts themselves.

    Args:
        warehouse: where the ciphertexts and the register are.
        orgs: only these; every org when not given.
    """
    rows = _run_statement(warehouse, "kms_protected", orgs)
    return [ProtectedSubjects(**{**row, "ids": tuple(row["ids"])}) for row in rows]


def repair_register(
    store: StateStore, warehouse: Warehouse, *, now: datetime, orgs: Sequence[str] = ()
) -> int:
    """Add the register's missing rows, for stored and for deleted ciphertexts.

    Returns:
        The number of added rows.
    """
    # Read first: a row that is shipped between the two reads is then seen twice, not never.
    with store.read() as conn:
        waiting = {_build_subject(row): row for row in outbox.list_waiting_rows(conn, KMS_LOG)}
    gaps = [
        row for row in _run_statement(warehouse, "kms_gaps", orgs) if not _is_waiting(row, waiting)
    ]
    with store.begin() as conn:
        _write_gaps(conn, gaps, now=now)
    return len(gaps)


def _write_gaps(conn: Connection, gaps: Iterable[Row], *, now: datetime) -> None:
    for gap in gaps:
        version, registered = gap["kms_key_version"], gap["registered_version"]
        reason: RegisterReason = "ENCRYPTED" if registered is None else "ROTATED"
        if version is None:
            version, reason = registered, "DELETED"
        write_version(conn, _build_subject(gap), kms_key_version=version, reason=reason, now=now)


def _is_waiting(gap: Row, waiting: Mapping[Subject, Row]) -> bool:
    """Return whether the missing row already waits to be shipped."""
    row = waiting.get(_build_subject(gap))
    if row is None:
        return False
    current = row["kms_key_version"] if row["status"] == "CURRENT" else None
    return bool(current == gap["kms_key_version"])


def _build_subject(row: Row) -> Subject:
    return Subject(row["org_slug"], row["subject_type"], row["subject_id"])


def _run_statement(warehouse: Warehouse, name: str, orgs: Sequence[str]) -> list[Row]:
    params = {"every": not orgs, "orgs": list(orgs) or [""], "since": BEGINNING}
    return run_file(warehouse, warehouse.sql(f"tenants/{name}.sql"), params=params)
