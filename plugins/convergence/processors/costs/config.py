"""Configuration models of the steps that publish cost streams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from convergence.processors.lib.field_types import SqlFile
from convergence.processors.step_config import ConfigViolation, StepConfig
from convergence.providers.cost_streams import list_streams
from convergence.providers.registry import ProviderRegistry, load_registry_at

StreamId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,29}/[a-z][a-z0-9_]{0,29}$")]
"""A cost stream, such as `openai/api`."""


class AuthoritativeConfig(StepConfig):
    """Publishes the authoritative rows of cost streams: billed once the bill covers a day."""

    ps_type: ClassVar[str] = "costs.authoritative"

    streams: tuple[StreamId, ...] = ()
    """The streams; by default every stream that the org has cost of."""

    coverage_threshold: Annotated[Decimal, Field(ge=0, strict=False)] = Decimal("0.01")
    """By how much a meter of the bill may be below the usage, in the price book's currency."""

    max_days: int = Field(default=400, ge=1, le=4000)
    """Days of one stream that one run publishes at most; the next run goes on with older ones."""

    one_basis_file: SqlFile = "system/sql/streams/one_basis.sql"
    """Selects the rows of a day of a stream with one basis."""

    two_bases_file: SqlFile = "system/sql/streams/two_bases.sql"
    """Matches the bill of a day with the usage."""

    totals_file: SqlFile = "system/sql/streams/totals.sql"
    """Reads one published day's sums by currency and basis."""

    def find_violations(self, folder: Path, *, provider: str | None) -> Iterator[ConfigViolation]:
        """Report streams that `providers.yml` does not declare."""
        del provider
        registry = load_registry_at(folder)
        known = sorted(stream.id for stream in list_streams(registry))
        yield from _find_unknown(self.streams, known, registry=registry)


class ReconciliationConfig(StepConfig):
    """Publishes computed against billed cost of cost streams, and why they differ."""

    ps_type: ClassVar[str] = "costs.reconciliation"

    streams: tuple[StreamId, ...] = ()
    """The streams; by default every stream that has a bill and computed usage."""

    min_explained_share: Annotated[Decimal, Field(ge=0, le=1, strict=False)] = Decimal("0.95")
    """The run warns when less of a stream's differences is explained. The organization's setting
    `min_explained_share` replaces it."""

    max_days: int = Field(default=400, ge=1, le=4000)
    """Days of one stream that one run publishes at most; the next run goes on with older ones."""

    sql_file: SqlFile = "system/sql/streams/reconciliation.sql"
    """Compares the bill of a day with the usage."""

    discounts_file: SqlFile = "system/sql/streams/discounts.sql"
    """Finds one ratio between bill and computed cost over several models and days."""

    summary_file: SqlFile = "system/sql/streams/reconciliation_summary.sql"
    """Sums the reasons of the run's days."""

    def find_violations(self, folder: Path, *, provider: str | None) -> Iterator[ConfigViolation]:
        """Report streams that `providers.yml` does not declare with both bases."""
        del provider
        registry = load_registry_at(folder)
        streams = list_streams(registry)
        known = sorted(one.id for one in streams if one.declared.reconciliation is not None)
        yield from _find_unknown(self.streams, known, registry=registry)


def _find_unknown(
    names: Sequence[str], known: Sequence[str], *, registry: ProviderRegistry
) -> Iterator[ConfigViolation]:
    # The streams of an entry with errors are unknown: its own errors are reported, and a run that
    # needs the provider is rejected. Its pipelines are valid again as soon as the entry is.
    unreadable = set(registry.ids) - {provider.id for provider in registry}
    for index, name in enumerate(names):
        if name not in known and name.partition("/")[0] not in unreadable:
            message = f"{name} is no cost stream; accepted: {', '.join(known)}"
            yield ConfigViolation(("streams", index), message)
