"""The row of the execution queue, declared once.

Each field of `QueuedRun` says how it is stored. The table of the state store, the row of the
warehouse's log and the entry that is restored from that log follow from this declaration. To add
a field, add it here, write the Alembic revision for its column, and add its column to the log's
schema file; a test compares all of them.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, get_type_hints

from sqlalchemy import JSON, Boolean, Column, Integer, String, Text

from convergence.state.schema.column_types import RunTrigger, UtcDateTime
from convergence.state.schema.json_encoding import encode_json

# Below every priority that a customer can choose.
BACKGROUND = -100
RUN_ID_PREFIX = "queue__"


class QueueStatus(StrEnum):
    """The status of an entry."""

    QUEUED = "QUEUED"
    STARTED = "STARTED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


def _keep(value: Any) -> Any:  # noqa: ANN401  # the identity
    return value


def _encode_days(days: tuple[date, ...]) -> list[str]:
    return [day.isoformat() for day in days]


def _decode_days(days: list[str | date]) -> tuple[date, ...]:
    return tuple(day if isinstance(day, date) else date.fromisoformat(day) for day in days)


def _decode_params(params: str | Mapping[str, Any] | None) -> dict[str, Any]:
    return json.loads(params) if isinstance(params, str) else dict(params or {})


def _decode_debited(debited: bool | None) -> bool:  # a converter of a column
    # Rows of a release without the column have no value: all of its runs were debited.
    return debited is not False


@dataclass(frozen=True)
class Stored:
    """Storage form of a field.

    Attributes:
        type: of the column in the state store.
        nullable: whether that column may be NULL.
        primary_key: whether that column is the key.
        log_column: the column of the warehouse's log; None for the field's own name.
        logged: whether the log has the field at all.
        to_table: from the field's value to the column's.
        to_log: from the field's value to the log's.
        from_stored: from a value of the table or of the log to the field's.
    """

    type: Any
    nullable: bool = False
    primary_key: bool = False
    log_column: str | None = None
    logged: bool = True
    to_table: Callable[[Any], Any] = _keep
    to_log: Callable[[Any], Any] = _keep
    from_stored: Callable[[Any], Any] = _keep


_Instant = Annotated[datetime | None, Stored(UtcDateTime, nullable=True)]
_OptionalId = Annotated[str | None, Stored(String(64), nullable=True)]
_Days = Annotated[
    tuple[date, ...], Stored(JSON, to_table=_encode_days, to_log=list, from_stored=_decode_days)
]
_Params = Annotated[
    Mapping[str, Any],
    Stored(JSON, to_table=dict, to_log=encode_json, from_stored=_decode_params),
]


@dataclass(frozen=True)
class QueuedRun:
    """One run that is to be started.

    Attributes:
        provider: whose integration it needs, as tables name it; None for none.
        days: UTC days to process; empty for those that are due when it starts.
        reason: why it waits, or why it failed.
        ended_at: when it left the queue.
        debited: whether its run counts against the plan's limits.
        follows: the entry whose run must have succeeded before this one starts.
        schedule: the org's own schedule that made it due; None when a caller requested it.
        due_at: when that schedule made it due.
        not_before: when it is tried again, after Airflow rejected its run.
    """

    org_slug: Annotated[str, Stored(String(64))]
    pipeline_id: Annotated[str, Stored(String(200))]
    dag_id: Annotated[str, Stored(String(250))]
    provider: _OptionalId
    requested_by: Annotated[str, Stored(String(128))]
    enqueued_at: Annotated[datetime, Stored(UtcDateTime)]
    trigger: Annotated[RunTrigger, Stored(String(16))] = "api"
    days: _Days = ()
    params: _Params = field(default_factory=dict)
    priority: Annotated[int, Stored(Integer)] = 0
    request_id: Annotated[str | None, Stored(String(128), nullable=True)] = None
    status: Annotated[QueueStatus, Stored(String(16), to_log=str, from_stored=QueueStatus)] = (
        QueueStatus.QUEUED
    )
    reason: Annotated[str | None, Stored(Text, nullable=True)] = None
    run_id: _OptionalId = None
    ended_at: Annotated[
        datetime | None, Stored(UtcDateTime, nullable=True, log_column="claimed_at")
    ] = None
    debited: Annotated[bool, Stored(Boolean, nullable=True, from_stored=_decode_debited)] = True
    follows: _OptionalId = None
    schedule: Annotated[str | None, Stored(String(100), nullable=True)] = None
    due_at: _Instant = None
    not_before: Annotated[datetime | None, Stored(UtcDateTime, nullable=True, logged=False)] = None
    queue_id: Annotated[str, Stored(String(64), primary_key=True)] = field(
        default_factory=lambda: f"que_{uuid.uuid4().hex[:24]}"
    )

    @property
    def dag_run_id(self) -> str:
        """Airflow's run id; the same on every start."""
        return f"{RUN_ID_PREFIX}{self.queue_id}"

    @property
    def in_background(self) -> bool:
        """Whether no caller waits for the run; it then leaves slots to other runs."""
        return self.priority <= BACKGROUND


@cache
def list_stored_fields() -> Mapping[str, Stored]:
    """Return how each field is stored, by the field's name."""
    hints = get_type_hints(QueuedRun, include_extras=True)
    return {name: hints[name].__metadata__[0] for name in QueuedRun.__dataclass_fields__}


def build_columns() -> list[Column[Any]]:
    """Return the columns of the state store's table."""
    return [
        Column(name, stored.type, primary_key=stored.primary_key, nullable=stored.nullable)
        for name, stored in list_stored_fields().items()
    ]


def build_table_row(entry: QueuedRun) -> dict[str, Any]:
    """Return the entry's row in the state store."""
    return {
        name: stored.to_table(getattr(entry, name)) for name, stored in list_stored_fields().items()
    }


def parse_table_row(row: Mapping[Any, Any]) -> QueuedRun:
    """Return the entry of a row of the state store."""
    return QueuedRun(
        **{name: stored.from_stored(row[name]) for name, stored in list_stored_fields().items()}
    )


def build_log_row(entry: QueuedRun) -> dict[str, Any]:
    """Return the entry's row in the warehouse's log, but for the time of its recording."""
    return {
        stored.log_column or name: stored.to_log(getattr(entry, name))
        for name, stored in list_stored_fields().items()
        if stored.logged
    }


def parse_log_row(row: Mapping[str, Any]) -> QueuedRun:
    """Return the entry of a row of the warehouse's log; further columns are ignored."""
    return QueuedRun(
        **{
            name: stored.from_stored(row[stored.log_column or name])
            for name, stored in list_stored_fields().items()
            if stored.logged
        }
    )
