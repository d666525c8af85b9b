"""Cost streams: what one bill can cover, and where its computed and its billed cost are.

For each stream and usage day exactly one basis is authoritative: the bill once it covers the day,
the computed cost until then. Streams add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, Self

from pydantic import Field, model_validator

from convergence.config_files import Strict
from convergence.providers.reconciliation import Reconciliation

Basis = Literal["computed", "billed"]
StreamName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,29}$")]
PipelineId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=100)]
Column = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]

TABLE_SUFFIX = "_authoritative_daily"
"""Suffix of the names of the tables that hold the authoritative rows."""
RECONCILIATION_SUFFIX = "_reconciliation_daily"
"""Suffix of the names of the tables that compare computed with billed cost."""


class CostBasis(Strict):
    """One source of a stream's cost.

    Attributes:
        table: the table of the org's dataset.
        schema_file: the table's schema, or a file with templates of schemas.
        schema_template: which of the templates the table has; None if the file is the schema.
        view: SQL file of its view, whose columns are those of cost_daily_by_basis.
        pipeline: the id of the pipeline that publishes the table.
        monthly: whether a slice of the table is a month, named by its first day.
        observed: whether the table holds what was observed on the day itself, so that a missed day
            can't be published later.
    """

    table: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    schema_file: Annotated[str, Field(pattern=r"^[a-z0-9_/]+\.json$")]
    schema_template: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] | None = None
    view: Annotated[str, Field(pattern=r"^[a-z0-9_/]+\.sql$")]
    pipeline: PipelineId
    monthly: bool = False
    observed: bool = False

    @property
    def view_name(self) -> str:
        """Return the name of the view in the org's dataset."""
        return self.view.rsplit("/", 1)[-1].removesuffix(".sql")


class NeverBilled(Strict):
    """Usage that no bill of the stream can hold: rows whose column has one of the values."""

    column: Column
    values: tuple[str, ...] = Field(min_length=1)


class CostStream(Strict):
    """What one bill covers.

    Attributes:
        money: `charge` if this vendor invoices the money; `memo` if it is inside another bill and
            serves allocation and comparison only.
        computed: the cost that follows from usage and prices.
        billed: the cost that the provider bills.
        dimensions: columns that bill and usage are matched by, the most important first; only for
            a stream with both bases.
        never_billed: usage that no bill of the stream can hold.
        optional: whether an org that has connected the provider may have none of the stream: days
            before its first published one are then no gap.
        reconciliation: how bill and usage are compared; only for a stream with both bases.
    """

    money: Literal["charge", "memo"] = "charge"
    computed: CostBasis | None = None
    billed: CostBasis | None = None
    dimensions: tuple[Column, ...] = ()
    never_billed: tuple[NeverBilled, ...] = ()
    optional: bool = False
    reconciliation: Reconciliation | None = None

    @model_validator(mode="after")
    def _has_a_basis(self) -> Self:
        if self.computed is None and self.billed is None:
            raise ValueError("a stream needs computed, billed or both")
        if (self.computed and self.billed) and not self.dimensions:
            raise ValueError("a stream with both bases needs dimensions to match them by")
        if self.reconciliation and not (self.computed and self.billed):
            raise ValueError("reconciliation needs a stream with both bases")
        return self

    @property
    def bases(self) -> Mapping[Basis, CostBasis]:
        """Return the bases that the stream has."""
        both: dict[Basis, CostBasis | None] = {"computed": self.computed, "billed": self.billed}
        return {basis: one for basis, one in both.items() if one is not None}


@dataclass(frozen=True, slots=True)
class Stream:
    """A cost stream of the registry.

    Attributes:
        provider: the provider's id.
        name: the name within the provider.
        declared: what `providers.yml` says of it.
    """

    provider: str
    name: str
    declared: CostStream

    @property
    def id(self) -> str:
        """Return the name in tables and responses, such as `openai/api`."""
        return f"{self.provider}/{self.name}"

    @property
    def table(self) -> str:
        """Return the table of its authoritative rows."""
        return f"{self.provider}_{self.name}{TABLE_SUFFIX}"

    @property
    def pipeline_id(self) -> str:
        """Return the pipeline id of its slices: several pipelines publish into one table."""
        return f"{self.provider}-{self.name}-authoritative".replace("_", "-")

    @property
    def reconciliation_table(self) -> str:
        """Return the table that compares its computed with its billed cost."""
        return f"{self.provider}_{self.name}{RECONCILIATION_SUFFIX}"

    @property
    def reconciliation_pipeline_id(self) -> str:
        """Return the pipeline id of the slices of that table."""
        return f"{self.provider}-{self.name}-reconciliation".replace("_", "-")


class StreamOwner(Protocol):
    """A provider of the registry."""

    @property
    def id(self) -> str:
        """The provider's id."""

    @property
    def cost_streams(self) -> Mapping[str, CostStream]:
        """Its streams by name."""


def list_streams(providers: Iterable[StreamOwner]) -> list[Stream]:
    """Return every cost stream, in the order of the file."""
    return [
        Stream(provider.id, name, declared)
        for provider in providers
        for name, declared in provider.cost_streams.items()
    ]
