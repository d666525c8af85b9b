"""An org's own configuration of a pipeline: whether it runs, when, and with which params.

Each change also goes to the warehouse's log. A lost store is restored from the newest row of each
org and pipeline there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select, update

from convergence.state import outbox
from convergence.state.schema.json_encoding import encode_json
from convergence.state.schema.tables import build_upsert, insert_if_absent
from convergence.state.schema.tables import pipeline_configs as table

CONFIG_LOG = "org_pipeline_configs"
_INSTANT = timedelta(microseconds=1)
_ONE = select(table).where(
    table.c.org_slug == bindparam("org"), table.c.pipeline_id == bindparam("pipeline")
)


@dataclass(frozen=True)
class PipelineConfig:
    """One org's configuration of one pipeline.

    Attributes:
        provider: whose integration the pipeline needs, as tables name it; None for none.
        schedule: five cron fields or a preset, read in `timezone`; None follows the pipeline's.
        timezone: IANA name; None is UTC.
        params: values of the pipeline's params for the org's runs; a request may override them.
        next_due_at: the next due time of `schedule`; None without one, or while not enabled.
    """

    org_slug: str
    pipeline_id: str
    dag_id: str
    provider: str | None
    updated_at: datetime
    updated_by: str
    enabled: bool = True
    schedule: str | None = None
    timezone: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    next_due_at: datetime | None = None


def put_config(conn: Connection, config: PipelineConfig) -> PipelineConfig:
    """Set an org's configuration of a pipeline, log it, and return it.

    Two concurrent changes have the same order in the log as in the store.
    """
    mine = (table.c.org_slug == config.org_slug) & (table.c.pipeline_id == config.pipeline_id)
    known = conn.execute(select(table.c.updated_at).where(mine).with_for_update()).one_or_none()
    if known is not None and known.updated_at >= config.updated_at:
        config = replace(config, updated_at=known.updated_at + _INSTANT)
    values = _build_values(config)
    statement = build_upsert(conn, table).values(**values)
    keys = ("org_slug", "pipeline_id")
    changed = {name: value for name, value in values.items() if name not in keys}
    conn.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed))
    _log_config(conn, config)
    return config


def restore_config(conn: Connection, config: PipelineConfig) -> bool:
    """Add a configuration from the log unless the store has one; return whether it was added."""
    return insert_if_absent(conn, table, _build_values(config))


def disable_configs(conn: Connection, org_slug: str, *, now: datetime, by: str) -> None:
    """Disable all pipelines of an org that is removed."""
    rows = conn.execute(select(table).where(table.c.org_slug == org_slug, table.c.enabled)).all()
    for row in rows:
        off = replace(
            _build_config(row), enabled=False, next_due_at=None, updated_at=now, updated_by=by
        )
        put_config(conn, off)


def get_config(conn: Connection, org_slug: str, pipeline_id: str) -> PipelineConfig | None:
    """Return the org's configuration of the pipeline, or None."""
    row = conn.execute(_ONE, {"org": org_slug, "pipeline": pipeline_id}).one_or_none()
    return _build_config(row) if row else None


def list_for_pipeline(conn: Connection, pipeline_id: str) -> dict[str, PipelineConfig]:
    """Return each org's configuration of the pipeline, by org."""
    rows = conn.execute(select(table).where(table.c.pipeline_id == pipeline_id))
    return {row.org_slug: _build_config(row) for row in rows}


def list_due_configs(conn: Connection, *, now: datetime, limit: int = 500) -> list[PipelineConfig]:
    """Return the configurations whose schedule is due, the longest due first."""
    query = select(table).where(table.c.enabled, table.c.next_due_at <= now)
    rows = conn.execute(query.order_by(table.c.next_due_at).limit(limit))
    return [_build_config(row) for row in rows]


def advance_schedule(conn: Connection, config: PipelineConfig, *, next_due_at: datetime) -> bool:
    """Set the next due time of a due configuration; return False when another process did."""
    mine = (
        (table.c.org_slug == config.org_slug)
        & (table.c.pipeline_id == config.pipeline_id)
        & (table.c.next_due_at == config.next_due_at)
    )
    return conn.execute(update(table).where(mine).values(next_due_at=next_due_at)).rowcount == 1


def _build_config(row: Row[Any]) -> PipelineConfig:
    return PipelineConfig(**{n: getattr(row, n) for n in PipelineConfig.__dataclass_fields__})


def _build_values(config: PipelineConfig) -> dict[str, Any]:
    return asdict(config) | {"params": dict(config.params)}


def _log_config(conn: Connection, config: PipelineConfig) -> None:
    row = _build_values(config) | {
        "params": encode_json(config.params),
        "created_at": config.updated_at,
    }
    outbox.enqueue_row(conn, CONFIG_LOG, row)
