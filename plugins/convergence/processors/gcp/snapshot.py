"""A list as it is now, as the closing state of yesterday.

What a list held on a day can't be asked for in retrospect: a day is observed once, by the first
run after it. An observation is made again only where a person clears the task, and a day that
nobody observed is NOT_OBSERVABLE in the ledger.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from convergence.errors import ProviderProtocolError
from convergence.extract.http import OriginClient
from convergence.extract.paginate import Page, PageRequest, PageResponse, find_at_path
from convergence.extract.ratelimit import RequestRate
from convergence.extract.retry import Retrier
from convergence.extract.spool import Spool, day_from_field, fingerprint_of
from convergence.extract.stream import Query, extract_pages
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.gcp.access import fetch_token, service_account
from convergence.processors.gcp.config import ApiExtractorConfig
from convergence.processors.lib.daily.extraction import (
    allowance,
    columns_of,
    publish_sealed,
    retry_policy,
)
from convergence.processors.lib.daily.fields import FieldReader
from convergence.processors.lib.daily.observed import observed_days
from convergence.processors.lib.daily.slices import Publish, publish_days
from convergence.providers.google import PROVIDER
from convergence.providers.registry import load_registry
from convergence.runs.publisher import Attempt
from convergence.warehouse.evolve import ensure_table
from convergence.warehouse.names import TableName
from convergence.warehouse.schemas import TableSchema

DAY = "snapshot_date"
OWN_COLUMNS = (DAY, "observed_at")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class TokenPages:
    """Pages by `nextPageToken`, as all of Google's lists have them.

    An empty list is told by leaving it out, so `{}` is the whole answer of an empty one, and a
    page may be empty though another follows (https://google.aip.dev/158).

    Attributes:
        path: below the origin's prefix.
        data_path: dotted keys of the list.
        params: sent with every page.
    """

    path: str
    data_path: str
    params: tuple[tuple[str, str], ...] = ()

    def request(self, token: str | None) -> PageRequest:
        """See `Paginator`."""
        more = () if token is None else (("pageToken", token),)
        return PageRequest(self.path, (*self.params, *more))

    def read_page(self, response: PageResponse, *, token: str | None) -> Page:
        """See `Paginator`."""
        del token
        if not isinstance(response.body, dict):
            raise ProviderProtocolError("The page is no object")
        rows, following = (
            find_at_path(response.body, self.data_path),
            response.body.get("nextPageToken"),
        )
        rows = [] if rows is None else rows
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ProviderProtocolError("The page has no list of rows", data_path=self.data_path)
        if not isinstance(following, str | None):
            raise ProviderProtocolError("The next page's token is not text")
        return Page(rows, following or None)


def take_snapshot(org: OrgContext, config: ApiExtractorConfig) -> StepResult:
    """Observe the list for yesterday, if nobody has; errors as `ApiExtractor.run`."""
    table = TableName(org.dataset, config.table)
    if not org.days:
        return StepResult(status="SKIPPED", destination_table=str(table))
    snapshot = Snapshot(org, config)
    ensure_table(org.warehouse, table, snapshot.schema)
    days = observed_days(org, table=config.table, observable=snapshot.yesterday, once=True)
    published = publish_days(org, days.todo, table=config.table, make=snapshot.make)
    return StepResult(
        rows_processed=published.row_count,
        destination_table=str(table),
        details={**published.facts(), **days.details()},
    )


class Snapshot:
    """One org's list in one run."""

    def __init__(self, org: OrgContext, config: ApiExtractorConfig) -> None:
        self._org = org
        self._config = config
        self.schema = TableSchema.load(org.settings.configs_dir / config.schema_file)
        self.yesterday = org.now().astimezone(UTC).date() - timedelta(days=1)
        # What the list says of a row; said twice, it is no list of what there is.
        self._told = [one.name for one in self.schema.fields if one.name not in OWN_COLUMNS]
        self._reader = FieldReader(columns_of(self.schema), own=OWN_COLUMNS, source=config.url)

    def make(self, attempts: Mapping[date, Attempt], round_: int) -> Iterator[tuple[date, Publish]]:
        """The content of the days whose attempts are given, newest first."""
        for day in sorted(attempts, reverse=True):
            now = self._org.now()
            folder = self._org.spool_dir / f"{day}_{round_}"
            # A page of an earlier try is older, and another page may have changed since.
            spool = Spool.open(folder, fingerprint=fingerprint_of(uuid4().hex))
            self._observe(spool, observed_at=now.isoformat())
            sealed = spool.write_day_files(day_from_field(DAY), [day], unique_by=self._told)[day]
            yield (
                day,
                partial(
                    publish_sealed,
                    self._org,
                    attempts[day],
                    sealed,
                    table=self._config.table,
                    schema=self.schema,
                    now=now,
                ),
            )

    def _observe(self, spool: Spool, *, observed_at: str) -> None:
        own = {DAY: self.yesterday.isoformat(), "observed_at": observed_at}

        def to_rows(row: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
            return ({**self._reader.row(snake_cased(row)), **own},)

        with self._client() as client:
            pages = TokenPages(
                urlsplit(self._config.url).path,
                self._config.data_path,
                tuple(self._config.params.items()),
            )
            limit = allowance(
                self._org,
                PROVIDER,
                rate=RequestRate(self._config.requests_per_minute, seconds=60),
                host=client.origin.host,
            )
            extract_pages(
                client,
                [Query(self._config.data_path, pages, to_rows)],
                spool,
                retrier=Retrier(retry_policy(self._org, PROVIDER)),
                allowance=limit,
            )

    def _client(self) -> OriginClient:
        """A client for the API, or for the stand-in that takes its place, with a fresh token."""
        settings, provider = self._org.settings, load_registry(self._org.settings).get(PROVIDER)
        token = fetch_token(service_account(self._org), self._config.scopes, settings=settings)
        stand_in = settings.emulators.get(provider.base_url_variable or "")
        parts = urlsplit(self._config.url)
        return OriginClient.for_settings(
            stand_in or f"{parts.scheme}://{parts.netloc}",
            settings=settings,
            headers={provider.auth.header: provider.auth.prefix + token.value},
        )


def snake_cased(row: Mapping[str, Any]) -> dict[str, Any]:
    """Google's field names as our columns: `displayName` is `display_name`."""
    return {_HUMP.sub("_", name).lower(): value for name, value in row.items()}
