"""Publish the days of an org's cost streams whose slices, finality or statement have changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC
from typing import Any

from convergence.processors.context import OrgContext, StepResult
from convergence.processors.costs.config import AuthoritativeConfig
from convergence.processors.costs.stream_choice import choose_days, choose_streams
from convergence.processors.costs.stream_days import StreamDays
from convergence.processors.costs.stream_inputs import find_published, find_slices, read_ledger
from convergence.processors.lib.daily.cost_view import ensure_stream
from convergence.processors.lib.daily.slices import publish_days
from convergence.providers.cost_streams import Stream
from convergence.runs.ledger import LedgerRow
from convergence.runs.slices import SliceKey
from convergence.warehouse.names import TableName


def publish_streams(org: OrgContext, config: AuthoritativeConfig) -> StepResult:
    """Publish the streams one after the other.

    Raises:
        ConfigurationError: the provider's entry in `providers.yml` has errors.
        InputNotAsRecordedError: a table of a stream differs from the ledger; the other days and
            streams are published first.
    """
    streams = choose_streams(org.settings, config.streams)
    ledger = read_ledger(org, streams)
    published = {stream.id: _publish_stream(org, stream, config, ledger) for stream in streams}
    done = {name: result for name, result in published.items() if result is not None}
    rows = sum(result.pop("rows") for result in done.values())
    tables = [stream.table for stream in streams if stream.id in done]
    if not done:
        return StepResult(status="SKIPPED")
    return StepResult(
        rows_processed=rows,
        destination_table=str(TableName(org.dataset, tables[0])) if len(tables) == 1 else None,
        details={"streams": done},
    )


def _publish_stream(
    org: OrgContext,
    stream: Stream,
    config: AuthoritativeConfig,
    ledger: Mapping[SliceKey, LedgerRow],
) -> dict[str, Any] | None:
    """Publish the changed days of a stream; None if the org has no cost of it."""
    slices = find_slices(stream, ledger, today=org.now().astimezone(UTC).date())
    if not slices:
        return None
    stream_org = replace(org, pipeline=replace(org.pipeline, pipeline_id=stream.pipeline_id))
    schema = ensure_stream(org, stream)
    published_before = find_published(stream.pipeline_id, stream.table, ledger)
    source = StreamDays(
        stream_org, stream, config, schema=schema, slices=slices, published=published_before
    )
    pending = source.list_changed_days()
    days = choose_days(pending, org.days, limit=config.max_days)
    published = publish_days(stream_org, source, days)
    if len(days) < len(pending):
        org.log.info("%s: %d days are left for the next run", stream.id, len(pending) - len(days))
    return {
        **published.build_details(),
        "days_checked": len(slices),
        "rows": published.row_count,
    }
