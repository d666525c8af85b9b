"""A slice's missing ledger row, written from the job that last wrote its partition."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from convergence.runs.ledger import Action, Ledger, LedgerRow, Replaced
from convergence.runs.slices import SliceKey, advance_finality, compute_finality
from convergence.warehouse.client import Job, Warehouse
from convergence.warehouse.names import TableName, label_value, partition_id
from convergence.warehouse.partitions.publish import PartitionWrite
from convergence.warehouse.partitions.writers import last_writer

log = logging.getLogger(__name__)

_HEAD: Final = 16
"""Hexadecimal characters of a content hash in the label that people read."""


def content_labels(content_hash: str, *, attempt: int, source_pages: int) -> dict[str, str]:
    """Return the labels of a publishing job; its ledger row can be rebuilt from them.

    A label takes 63 characters and a SHA-256 digest has 64: the hash is in two labels.
    """
    return {
        "content": content_hash[:_HEAD],
        "content_rest": content_hash[_HEAD:],
        "attempt": str(attempt),
        "pages": str(source_pages),
    }


def recover_row(
    warehouse: Warehouse,
    ledger: Ledger,
    *,
    key: SliceKey,
    table: TableName,
    row: LedgerRow | None,
    write: PartitionWrite | None,
    now: datetime,
    settle_days: int,
) -> LedgerRow | None:
    """Write the row that a dead process left out, where its job says what it published.

    Args:
        warehouse: where the partition is.
        ledger: takes the row.
        key: the slice.
        table: the slice's table.
        row: the slice's newest row, and the partition is not as it says; None without a row.
        write: the partition's last write.
        now: the present, aware.
        settle_days: for how long the provider may change the day.

    Returns:
        The row, without totals; None where the last write is not that of a newer attempt at this
        slice whose job carries the labels of `content_labels`.

    Raises:
        WarehouseUnavailableError, WarehouseError: as the warehouse says.
    """
    job = None if write is None else last_writer(warehouse, table, key.day, write)
    if job is None or write is None or not _is_newer_attempt(job, key, row):
        return None
    content = job.labels["content"] + job.labels["content_rest"]
    changed = row is None or content != row.content_hash
    recovered = LedgerRow(
        key=key,
        action=Action.PUBLISHED,
        attempt=int(job.labels["attempt"]),
        run_id=job.labels["run"],
        job_id=job.job_id,
        content_hash=content,
        row_count=write.rows,
        source_pages=int(job.labels["pages"]),
        finality=advance_finality(
            compute_finality(key.day, now, settle_days),
            before=row.finality if row else None,
            changed=changed,
        ),
        checked_at=max(now, row.checked_at) if row else now,
        job_ended_at=job.ended,
        replaced=Replaced.from_row(row) if row and changed else None,
    )
    ledger.append_rows([recovered])
    log.info("%s: wrote the missing row of job %s", key.id, job.job_id)
    return recovered


def _is_newer_attempt(job: Job, key: SliceKey, row: LedgerRow | None) -> bool:
    """Return whether the job is of this slice and a higher attempt than in the ledger."""
    labels: Mapping[str, str] = job.labels or {}
    of_slice = {
        "org": key.org_slug,
        "pipeline": key.pipeline_id,
        "table": key.table,
        "day": partition_id(key.day),
    }
    if any(labels.get(name) != label_value(value) for name, value in of_slice.items()):
        return False
    if not {"run", "content", "content_rest", "attempt", "pages"} <= labels.keys():
        return False
    # An older attempt's job that ended late has older content: nothing to build on.
    return row is None or int(labels["attempt"]) > row.attempt
