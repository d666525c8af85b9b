"""Compare bill and usage of an org's cost streams, and sum the reasons of the run's days."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC
from typing import Any

from convergence.processors.context import OrgContext, StepResult
from convergence.processors.costs.config import ReconciliationConfig
from convergence.processors.costs.discounts import find_discount
from convergence.processors.costs.org_settings import read_org_settings
from convergence.processors.costs.reconciliation_days import ComparedDay, ReconciliationDays
from convergence.processors.costs.reconciliation_summary import read_summary, warn_of_share
from convergence.processors.costs.stream_choice import choose_days, choose_streams
from convergence.processors.costs.stream_inputs import find_published, find_slices
from convergence.processors.lib.daily.cost_view import ensure_reconciliation
from convergence.processors.lib.daily.slices import publish_days
from convergence.providers.cost_streams import Stream
from convergence.runs.ledger import LedgerRow
from convergence.runs.slices import SliceKey


def reconcile_streams(org: OrgContext, config: ReconciliationConfig) -> StepResult:
    """Publish the compared days of the streams one after the other.

    Raises:
        ConfigurationError: the provider's entry in `providers.yml` has errors.
        InputNotAsRecordedError: a table of a stream differs from the ledger.
    """
    streams = [
        stream
        for stream in choose_streams(org.settings, config.streams)
        if stream.declared.reconciliation is not None
    ]
    ledger = _read_ledger(org, streams)
    published = {one.id: _publish_stream(org, one, config, ledger) for one in streams}
    done = {name: result for name, result in published.items() if result is not None}
    if not done:
        return StepResult(status="SKIPPED")
    rows = sum(result.pop("rows") for result in done.values())
    return StepResult(rows_processed=rows, details={"streams": done})


def _read_ledger(org: OrgContext, streams: Collection[Stream]) -> dict[SliceKey, LedgerRow]:
    """Read the newest slices of the streams' tables, of every day, with one query."""
    pipelines = {basis.pipeline for stream in streams for basis in stream.declared.bases.values()}
    for stream in streams:
        pipelines |= {stream.pipeline_id, stream.reconciliation_pipeline_id}
    return org.ledger.read_latest_of_pipelines(pipelines, orgs=[org.org_slug])


def _publish_stream(
    org: OrgContext,
    stream: Stream,
    config: ReconciliationConfig,
    ledger: Mapping[SliceKey, LedgerRow],
) -> dict[str, Any] | None:
    """Publish the changed days of a stream; None if the org has no cost of it."""
    slices = find_slices(stream, ledger, today=org.now().astimezone(UTC).date())
    authoritative = find_published(stream.pipeline_id, stream.table, ledger)
    compared = {
        day: ComparedDay(one, authoritative[day])
        for day, one in slices.items()
        if day in authoritative
    }
    if not compared:
        return None
    stream_org = replace(
        org, pipeline=replace(org.pipeline, pipeline_id=stream.reconciliation_pipeline_id)
    )
    settings = read_org_settings(org, stream)
    source = ReconciliationDays(
        stream_org,
        stream,
        config,
        schema=ensure_reconciliation(org, stream),
        days=compared,
        published=find_published(
            stream.reconciliation_pipeline_id, stream.reconciliation_table, ledger
        ),
        discount=find_discount(org, stream, slices, sql_file=config.discounts_file),
        settings=settings,
    )
    pending = source.list_changed_days()
    days = choose_days(pending, org.days, limit=config.max_days)
    published = publish_days(stream_org, source, days)
    if len(days) < len(pending):
        org.log.info("%s: %d days are left for the next run", stream.id, len(pending) - len(days))
    details = published.build_details()
    summed = sorted(set(org.days) & set(compared)) or sorted(days)
    summary = read_summary(org, stream, summed, sql_file=config.summary_file)
    min_share = settings.min_explained_share
    warn_of_share(
        org,
        stream,
        summary,
        min_share=config.min_explained_share if min_share is None else min_share,
    )
    return {
        # The days that changed are those of the bill or the usage, whose steps list them.
        **{name: value for name, value in details.items() if "restated" not in name},
        "rows": published.row_count,
        "reconciliation": summary,
    }
