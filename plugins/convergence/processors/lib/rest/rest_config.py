"""Configuration of the step that reads any REST API into a table."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from convergence.errors import ConfigurationError, NotFoundError
from convergence.processors.lib.daily.guarded_config import GuardedExtractionConfig
from convergence.processors.lib.field_types import SqlFile
from convergence.processors.lib.rest.rest_days import WORDS, words_in
from convergence.processors.lib.rest.rest_options import (
    AuthOptions,
    DestinationOptions,
    Dotted,
    MoneyOptions,
    Pagination,
    QuantityOptions,
    RateOptions,
)
from convergence.processors.lib.rest.rest_shape import find_mismatches
from convergence.processors.step_config import ConfigViolation, config_error
from convergence.providers.registry import (
    HeaderName,
    ParamName,
    Provider,
    RetryConfig,
    load_registry_at,
)
from convergence.warehouse.schemas import TableSchema

_URL = r"^https://[a-z0-9.-]+(/[A-Za-z0-9._~{}-]+)+$"
_RESERVED_HEADERS = frozenset({"authorization", "cookie", "host", "content-length", "content-type"})

ParamValue = str | int | bool


class RestConfig(GuardedExtractionConfig):
    """Reads any REST API into a table."""

    url: Annotated[str, Field(pattern=_URL, max_length=2000)]
    """URL of the list, https and without a query, below the provider's base URL in
    system/providers.yml: the credential is sent nowhere else."""

    method: Literal["GET", "POST"] = "GET"
    """POST if the API lists with it; the request must change nothing."""

    auth: AuthOptions | None = None
    """How the credential is sent with each request; absent for an API without one."""

    secret_key: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """The same as `auth.secret_key`."""

    params: dict[ParamName, ParamValue] = Field(default_factory=dict)
    """Parameters of the query. Placeholders in braces stand for the requested days: {first_day},
    {last_day}, {day_after}, {first_time}, {end_time}, {first_unix}, {end_unix}; in the URL and the
    body too."""

    headers: dict[HeaderName, str] = Field(default_factory=dict)
    """Further headers; never a credential."""

    body: dict[str, JsonValue] | None = None
    """JSON body of a POST."""

    pagination: Pagination | None = None
    """How to get the next page; absent for a list of one page."""

    end: Literal["proved", "unproved"] = "proved"
    """Whether the list proves its end: by a total, by a field that says whether a page follows, or
    by an empty page. `unproved` requests the last page twice; both responses must be equal."""

    data_path: Annotated[str, Field(pattern=r"^([^.\s]+(\.[^.\s]+)*)?$")] = "data"
    """Path of the list of rows in the response; empty when the response is the list."""

    destination: DestinationOptions
    """Table of the rows."""

    day_path: Dotted | None = None
    """Path of a row's day: a date, a time with zone, or Unix seconds. Without it the list is a
    snapshot: it is read once a day and stored for the day that has just ended."""

    days_per_request: int = Field(default=31, ge=1, le=366)
    """Maximum number of days per list, if the request contains days."""

    fields: dict[str, Dotted] = Field(default_factory=dict)
    """Path of the field in a row, by column, where the names differ."""

    money: MoneyOptions | None = None
    """Columns with money."""

    quantity: QuantityOptions | None = None
    """Column with a quantity."""

    rate_limit: RateOptions = RateOptions()
    """Maximum rate of requests to the provider."""

    retry: RetryConfig = RetryConfig()
    """Retries of a page; by default `retry` of the provider in system/providers.yml."""

    source_view: SqlFile | None = None
    """The table's part of cost_daily."""

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if self.method == "GET" and self.body is not None:
            raise config_error("a GET has no body; set method: POST")
        if self.method == "POST" and self.body is None:
            raise config_error("a POST needs a body; set body: {} for an empty one")
        for placeholder in words_in([self.url, self.params]):
            if placeholder not in WORDS:
                raise config_error(_describe_unknown_placeholder(placeholder))
        if self.names_days and self.day_path is None:
            raise config_error(
                "the request contains days, so day_path must name the field with the day of a row"
            )
        if reserved := sorted(name for name in self.headers if name.lower() in _RESERVED_HEADERS):
            raise config_error(
                f"a pipeline may not set the header {reserved[0]}; use auth for a credential"
            )
        names = {self.secret_key, self.auth.secret_key if self.auth else None} - {None}
        if len(names) > 1:
            raise config_error("secret_key and auth.secret_key name different credentials")
        if self.secret_key is not None and self.auth is None:
            raise config_error("secret_key needs auth, which defines how the credential is sent")
        return self

    @property
    def names_days(self) -> bool:
        """Whether the request contains the requested days."""
        return any(
            placeholder in WORDS for placeholder in words_in([self.url, self.params, self.body])
        )

    @property
    def credential_name(self) -> str | None:
        """The name of the credential, if one is set."""
        return self.secret_key or (self.auth.secret_key if self.auth else None)

    def daily_tables(self) -> tuple[str, ...]:
        """Return the destination."""
        return (self.destination.table,)

    def schema_path(self, folder: Path) -> Path:
        """Return the file of the destination's schema.

        Raises:
            ConfigurationError: it is not set, and none or several files have the table's name.
        """
        if self.destination.schema_file is not None:
            return folder / self.destination.schema_file
        found = sorted(folder.glob(f"**/schemas/{self.destination.table}.json"))
        if len(found) != 1:
            paths = [path.relative_to(folder).as_posix() for path in found]
            raise ConfigurationError(
                f"{len(paths)} files match the schema of {self.destination.table}; set schema_file",
                found=paths,
            )
        return found[0]

    def find_violations(self, folder: Path, *, provider: str | None) -> Iterator[ConfigViolation]:
        """Yield a violation for a schema that does not fit and for a URL outside the provider's."""
        yield from self._find_schema_violations(folder)
        if self.source_view is not None and not (folder / self.source_view).is_file():
            yield ConfigViolation(("source_view",), f"there is no file {self.source_view}")
        named = self.auth.provider if self.auth else None
        if (provider_name := named or provider) is None:
            if self.auth is not None and self.credential_name is None:
                yield ConfigViolation(
                    ("auth",), "neither the pipeline nor auth names the provider of the credential"
                )
            return
        try:
            known = load_registry_at(folder).get_by_any_name(provider_name)
        except NotFoundError:
            if named:
                yield ConfigViolation(("auth", "provider"), f"no provider is named {named!r}")
            return
        except ConfigurationError:
            return  # loading the registry reports its own errors
        if self.auth is not None and below(self.url, known) is None:
            yield ConfigViolation(
                ("url",), f"lies outside of {known.base_url}, {known.id}'s base URL"
            )

    def _find_schema_violations(self, folder: Path) -> Iterator[ConfigViolation]:
        place = ("destination", "schema_file" if self.destination.schema_file else "table")
        try:
            schema = TableSchema.load(self.schema_path(folder))
        except ConfigurationError as error:
            yield ConfigViolation(place, str(error))
            return
        for mismatch in find_mismatches(schema, self.fields):
            yield ConfigViolation(place, mismatch)
        columns = {spec.name for spec in schema.fields}
        for name in self.destination.unique_by:
            if name not in columns:
                yield ConfigViolation(
                    ("destination", "unique_by"), f"{schema.table} has no column {name}"
                )
        for name in _money_columns(self.money):
            if name not in columns:
                yield ConfigViolation(("money",), f"{schema.table} has no column {name}")
        for name in _quantity_columns(self.quantity):
            if name not in columns:
                yield ConfigViolation(("quantity",), f"{schema.table} has no column {name}")


def below(url: str, provider: Provider) -> str | None:
    """Return the path of a URL below a provider's base URL; None when it is outside."""
    base = provider.base_url.rstrip("/") + "/"
    return url.removeprefix(base) if url.startswith(base) else None


def _money_columns(money: MoneyOptions | None) -> tuple[str, ...]:
    if money is None:
        return ()
    return (money.amount,) if money.currency.isupper() else (money.amount, money.currency)


def _quantity_columns(quantity: QuantityOptions | None) -> tuple[str, ...]:
    if quantity is None:
        return ()
    return (quantity.amount,) if quantity.unit is None else (quantity.amount, quantity.unit)


def _describe_unknown_placeholder(placeholder: str) -> str:
    close = difflib.get_close_matches(placeholder, WORDS, n=1)
    meant = f"did you mean {{{close[0]}}}; " if close else ""
    return f"{{{placeholder}}} is not a known placeholder; {meant}known: {', '.join(WORDS)}"


def query_params(params: Mapping[str, ParamValue]) -> tuple[tuple[str, str], ...]:
    """Return parameters as query strings; true and false in lower case."""
    return tuple(
        (name, str(value).lower() if isinstance(value, bool) else str(value))
        for name, value in params.items()
    )
