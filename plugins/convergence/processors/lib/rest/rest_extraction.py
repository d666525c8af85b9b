"""Any REST API as a daily source: its request, its client, its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from convergence.errors import ConfigurationError, ProviderProtocolError
from convergence.extract.http import OriginClient
from convergence.extract.origin import Origin
from convergence.extract.paginate import ListSource, Page, PageRequest, PageResponse, Paginator, Row
from convergence.extract.retry import RetryPolicy
from convergence.extract.storage.figures import RowFigures, measure_columns
from convergence.extract.stream import Query
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.lib.daily.day_ranges import DayRange
from convergence.processors.lib.daily.extraction import (
    ReportSpec,
    build_retry_policy,
    extract_days,
    retry_policy,
)
from convergence.processors.lib.rest.rest_config import RestConfig, below, query_params
from convergence.processors.lib.rest.rest_days import day_words, filled
from convergence.processors.lib.rest.rest_options import MoneyOptions
from convergence.processors.lib.rest.rest_shape import RestShape
from convergence.providers.authorization import Authorization, authorize
from convergence.providers.registry import Provider, load_registry
from convergence.warehouse.day_file import Money
from convergence.warehouse.schemas import TableSchema

REVISION = 1
"""Rises when the same answers make other rows."""

_QUERY_KEYS = ("url", "method", "params", "body", "data_path", "day_path", "fields")
"""The keys of the step that decide which rows a list has."""


def extract_api(org: OrgContext, config: RestConfig) -> StepResult:
    """Extract and publish the org's days; errors as `extract_days`.

    Raises:
        ConfigurationError: the URL lies outside of the provider's base URL, or nobody says whose
            credential it is.
    """
    schema = TableSchema.load(config.schema_path(org.settings.configs_dir))
    api = Api.of(org, config)
    shape = RestShape(schema, fields=config.fields, source=api.name, day_path=config.day_path)
    snapshot = config.day_path is None
    yesterday = org.now().astimezone(UTC).date() - timedelta(days=1)

    def queries(days: DayRange) -> list[Query]:
        rows = build_row_converter(shape, days, named=config.names_days, snapshot=snapshot)
        return [
            Query(
                config.destination.table,
                api.paginator(days),
                rows,
                repeat_last_page=config.end == "unproved",
            )
        ]

    return extract_days(
        org,
        ReportSpec(
            provider=api.name,
            table=config.destination.table,
            schema=schema,
            queries=queries,
            unique_by=config.destination.unique_by,
            revision=REVISION,
            config=config.model_dump(mode="json"),
            connect=api.connect,
            money_of=money_of(config.money),
            longest=1 if snapshot else config.days_per_request,
            source_view=config.source_view,
            rate=config.rate_limit.rate(),
            retry=_choose_retry_policy(org, config, provider_id=api.name),
            day_column=shape.day_column,
            batch_rows=config.destination.batch_size,
            observed_on=yesterday if snapshot else None,
            unknown=shape.unknown,
            raw_days=config.raw_days,
            measure=_build_measure(config),
            grouping=config.model_dump(mode="json", include=set(_QUERY_KEYS)),
            shrink_limits=config.shrink_guard.build_limits(),
        ),
    )


def _build_measure(config: RestConfig) -> Callable[[Mapping[str, Any]], RowFigures | None]:
    money, quantity = config.money, config.quantity
    return measure_columns(
        amount=money.amount if money else None,
        currency=money.currency if money else "",
        quantity=quantity.amount if quantity else None,
        unit=quantity.unit if quantity else None,
    )


def _choose_retry_policy(org: OrgContext, config: RestConfig, *, provider_id: str) -> RetryPolicy:
    """Return the policy of the step's `retry`, or the provider's policy if the step has none."""
    throttled = config.rate_limit.retry_on_429
    if "retry" in config.model_fields_set:
        return build_retry_policy(config.retry, throttled=throttled)
    return retry_policy(org, provider_id, throttled=throttled)


@dataclass(frozen=True)
class Api:
    """URL of the list and provider of its credential.

    Attributes:
        config: of the step.
        provider: of the registry; None for an API without a provider and without a
            credential.
        base_url: that the client is bound to.
        path: of the list, below it.
    """

    config: RestConfig
    provider: Provider | None
    base_url: str
    path: str

    @classmethod
    def of(cls, org: OrgContext, config: RestConfig) -> Api:
        """Look the provider up; see `extract_api` for errors."""
        provider = _provider(org, config)
        found = below(config.url, provider) if provider is not None else None
        if config.auth is None and found is None:
            place, _, path = config.url.removeprefix("https://").partition("/")
            return cls(config, None, f"https://{place}", path)
        if provider is None:
            raise ConfigurationError(
                "Neither the pipeline nor auth names the provider of the credential"
            )
        if found is None:
            raise ConfigurationError(
                "The URL is outside the provider's base URL; the credential may not be sent there",
                url=config.url,
                provider=provider.id,
                base_url=provider.base_url,
            )
        return cls(config, provider, provider.url(org.settings), found)

    @property
    def name(self) -> str:
        """Name of the provider, or the host without a provider."""
        return self.provider.id if self.provider else urlsplit(self.base_url).hostname or ""

    def connect(self, org: OrgContext) -> OriginClient:
        """Return a client that is bound to the API's base URL, with the org's credential."""
        sent = self._authorization(org)
        headers = self.provider.headers if self.provider else {}
        return OriginClient.for_settings(
            self.base_url,
            settings=org.settings,
            headers={**headers, **self.config.headers, **sent.headers},
            params=sent.params,
            secrets=sent.secrets,
        )

    def paginator(self, days: DayRange) -> Paginator:
        """Return the paginator of the list of these days."""
        config, words = self.config, day_words(days)
        paging = config.pagination
        params = query_params(filled(config.params, words))
        body = None if config.body is None else filled(config.body, words)
        in_body = body is not None and (paging is None or paging.place != "query")
        if paging is not None and in_body:
            body = {**(body or {}), **dict(paging.limits)}
        elif paging is not None:
            params += tuple((name, str(value)) for name, value in paging.limits)
        source = ListSource(
            path=filled(self.path, words),
            params=params,
            data_path=config.data_path,
            more_path=paging.more_path if paging else None,
            total_path=paging.total_path if paging else None,
            body=body,
            pages_in_body=in_body,
        )
        if paging is None:
            return OnePage(source)
        hidden = {param for param in (self._auth_param(),) if param}
        return paging.paginator(
            source, origin=Origin.from_url(self.base_url), hidden=frozenset(hidden)
        )

    def _auth_param(self) -> str | None:
        return self.config.auth.placed().param if self.config.auth else None

    def _authorization(self, org: OrgContext) -> Authorization:
        if self.config.auth is None or self.provider is None:
            return Authorization()
        return authorize(self.config.auth.placed(), org.credential(self.provider.id))


@dataclass(frozen=True, slots=True)
class OnePage:
    """A list of one page."""

    source: ListSource

    def request(self, token: str | None) -> PageRequest:
        """See `Paginator`."""
        del token  # there is no second page
        return self.source.request()

    def read_page(self, response: PageResponse, *, token: str | None) -> Page:
        """See `Paginator`."""
        del token
        return Page(self.source.read_rows(response.body), None)


def build_row_converter(
    shape: RestShape, days: DayRange, *, named: bool, snapshot: bool
) -> Callable[[Row], Iterable[Row]]:
    """Return a function that turns rows of the API into table rows.

    With `named`, the request names its days and a row of another day is an error. Otherwise rows of
    other days are skipped.
    """
    requested: frozenset[date] = frozenset(days.days)

    def rows(source: Row) -> Sequence[Row]:
        day = days.last if snapshot else shape.day(source)
        if day not in requested:
            if named:
                raise ProviderProtocolError(
                    "A row belongs to a day that was not requested", day=day.isoformat()
                )
            return ()
        return (shape.row(source, day=day),)

    return rows


def money_of(options: MoneyOptions | None) -> Callable[[Mapping[str, Any]], Money | None] | None:
    """Return a function that reads a row's amount for its day's totals."""
    if options is None:
        return None
    amount, currency, basis = options.amount, options.currency, options.basis

    def money(row: Mapping[str, Any]) -> Money | None:
        code = currency if currency.isupper() else row.get(currency)
        if row.get(amount) is None or code is None:
            return None
        return Money(str(code), basis, Decimal(row[amount]))

    return money


def _provider(org: OrgContext, config: RestConfig) -> Provider | None:
    """Return the provider: of the named credential, else of auth, else of the pipeline."""
    known = load_registry(org.settings)
    named = config.auth.provider if config.auth else None
    api = known.get_by_any_name(named) if named else None
    if config.credential_name is not None:
        holder = org.services.provider_of_credential(org.org_slug, config.credential_name)
        if api is not None and api.id != holder:
            raise ConfigurationError(
                "The credential with this name belongs to another provider",
                secret_key=config.credential_name,
                provider=api.id,
                credential_of=holder,
            )
        return known.get(holder)
    if api is None and org.pipeline.provider is not None:
        return known.get(org.pipeline.provider)
    return api
