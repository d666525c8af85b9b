"""The parts of a generic extractor's configuration, under the keys that pipelines write them."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from convergence.extract.origin import Origin
from convergence.extract.paginate import (
    CursorPages,
    LinkPages,
    ListSource,
    NumberedPages,
    OffsetPages,
    Paginator,
)
from convergence.extract.ratelimit import RequestRate
from convergence.processors.lib.field_types import SchemaFile, TableId
from convergence.processors.step_config import config_error
from convergence.providers.registry import Auth, HeaderName, ParamName

Dotted = Annotated[str, Field(pattern=r"^[^.\s]+(\.[^.\s]+)*$", max_length=300)]
"""Keys that lead into a JSON object, joined by dots."""

MAX_SECONDS = 3600
_SLOWEST = 60


class Options(BaseModel):
    """Base of the parts: strict types, no unknown keys, immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class AuthOptions(Options):
    """How the credential is sent with each request, and which one it is."""

    type: Literal["bearer", "header", "query", "basic"]
    """bearer: `Authorization: Bearer …`. header: plain in `header_name`. query: the parameter
    `param`. basic: HTTP's basic scheme, the credential being `user:password`."""

    provider: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{1,29}$")] | None = None
    """Provider of the credential, by id or name in tables; the pipeline's provider when absent."""

    secret_key: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """Name that the org gave the credential, where the provider alone does not say which."""

    header_name: HeaderName | None = None
    """Of type header: the header; X-API-Key when absent."""

    param: ParamName | None = None
    """Of type query: the parameter; api_key when absent."""

    @model_validator(mode="after")
    def _fits_its_type(self) -> Self:
        for key, expected in (("header_name", "header"), ("param", "query")):
            if getattr(self, key) is not None and self.type != expected:
                raise config_error(f"{key} is for type {expected}, not {self.type}")
        return self

    def placed(self) -> Auth:
        """Return the headers and params that carry the credential."""
        if self.type == "query":
            return Auth(param=self.param or "api_key")
        if self.type == "header":
            return Auth(header=self.header_name or "X-API-Key")
        if self.type == "basic":
            return Auth(prefix="Basic ", encoding="base64")
        return Auth(prefix="Bearer ")


class _Paging(Options):
    limit: int | None = Field(default=None, ge=1, le=100_000)
    """Rows per page."""

    limit_param: ParamName = "limit"
    """Parameter that takes `limit`."""

    more_path: Dotted | None = None
    """Path in the response of true or false: whether another page follows."""

    total_path: Dotted | None = None
    """Path in the response of the total number of rows; the read rows must equal it."""

    place: Literal["query", "body"] | None = None
    """Where the page's parameters are sent; in the body of a POST when absent."""

    @property
    def limits(self) -> tuple[tuple[str, int], ...]:
        """Return the limit as a parameter."""
        return () if self.limit is None else ((self.limit_param, self.limit),)


class CursorOptions(_Paging):
    """A parameter takes the cursor of the previous page; a page without a cursor ends the list."""

    type: Literal["cursor"]
    param: ParamName = "cursor"
    """Parameter that takes the cursor."""

    response_path: Dotted
    """Path of the next page's cursor in the response."""

    def paginator(self, source: ListSource, *, origin: Origin, hidden: frozenset[str]) -> Paginator:
        """Return the paginator of the list."""
        del origin, hidden
        return CursorPages(source, self.param, self.response_path)


class OffsetOptions(_Paging):
    """Rows are skipped by number; without a total or a has-more, an empty page ends the list."""

    type: Literal["offset"]
    param: ParamName = "offset"
    """Parameter that takes the number of rows to skip."""

    limit: int = Field(default=100, ge=1, le=100_000)
    """Rows per page."""

    def paginator(self, source: ListSource, *, origin: Origin, hidden: frozenset[str]) -> Paginator:
        """Return the paginator of the list."""
        del origin, hidden
        return OffsetPages(source, self.limit, self.param, self.limit_param)


class PageOptions(_Paging):
    """Pages have numbers; the end is proved as with offsets."""

    type: Literal["page"]
    param: ParamName = "page"
    """Parameter that takes the page's number."""

    first: int = Field(default=1, ge=0, le=1)
    """The first page's number."""

    def paginator(self, source: ListSource, *, origin: Origin, hidden: frozenset[str]) -> Paginator:
        """Return the paginator of the list."""
        del origin, hidden
        return NumberedPages(source, self.limit, self.param, self.limit_param, self.first)


class LinkOptions(_Paging):
    """A URL leads to the next page; it must be below the provider's base URL."""

    type: Literal["link"]
    response_path: Dotted | None = None
    """Path of the next URL in the response; the `Link` header when absent."""

    def paginator(self, source: ListSource, *, origin: Origin, hidden: frozenset[str]) -> Paginator:
        """Return the paginator of the list."""
        return LinkPages(source, origin, self.response_path, hidden)


Pagination = Annotated[
    CursorOptions | OffsetOptions | PageOptions | LinkOptions, Field(discriminator="type")
]


class DestinationOptions(Options):
    """Table of the rows."""

    table: TableId
    """Table of the org's dataset, partitioned by day."""

    schema_file: SchemaFile | None = None
    """That table's schema; the one file `schemas/{table}.json` under the folder of configurations
    when absent. A field without a column goes to the column `extra`, of type JSON."""

    batch_size: int = Field(default=1000, ge=1, le=100_000)
    """Rows that are made durable on disk at a time, whole pages always."""

    unique_by: tuple[str, ...] = ()
    """Columns that identify a row; a repeated row is an error."""


class RateOptions(Options):
    """Maximum rate of requests to the provider for one org, by all runs together."""

    requests_per_second: float = Field(default=10, gt=0, le=1000)
    """Maximum requests per second; 0.5 is one in two seconds."""

    retry_on_429: bool = True
    """Whether to wait and retry when the provider throttles; else the step fails and is retried."""

    def rate(self) -> RequestRate:
        """Convert the rate to whole requests in whole seconds."""
        rate = Fraction(str(self.requests_per_second)).limit_denominator(_SLOWEST)
        if rate == 0:
            return RequestRate(1, MAX_SECONDS)
        return RequestRate(rate.numerator, rate.denominator)


class QuantityOptions(Options):
    """Which column is a quantity: the shrink guard compares each day's sum by unit."""

    amount: TableId
    """Column of the quantity."""

    unit: TableId | None = None
    """Column of the quantity's unit; absent if all rows have the same unit."""


class MoneyOptions(Options):
    """Which columns are money: the ledger keeps each day's sum by currency."""

    amount: TableId
    """Column of the amount."""

    currency: str = Field(pattern=r"^([A-Z]{3}|[a-z][a-z0-9_]*)$")
    """ISO 4217 code, or the column that holds it."""

    basis: Literal["billed", "computed"] = "billed"
    """Whether the provider bills it or somebody computed it."""
