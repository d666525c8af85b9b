"""Read a list now and store it as the closing state of yesterday.

Google does not report past states of a list: the first run after a day observes it once. The
observation is repeated only where a person clears the task. A day without an observation is
NOT_OBSERVABLE in the ledger.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, timedelta
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
from convergence.processors.lib.daily.day_source import DayContent, DaySource
from convergence.processors.lib.daily.extraction import (
    build_allowance,
    get_column_types,
    retry_policy,
)
from convergence.processors.lib.daily.fields import FieldReader
from convergence.processors.lib.daily.observed import sort_observed_days
from convergence.processors.lib.daily.slices import publish_days
from convergence.providers.google import PROVIDER
from convergence.providers.registry import load_registry
from convergence.runs.publisher import Attempt
from convergence.warehouse.names import TableName
from convergence.warehouse.schemas import TableSchema
from convergence.warehouse.tables.evolve import ensure_table

DAY = "snapshot_date"
ADDED_COLUMNS = (DAY, "observed_at")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class TokenPages:
    """Paginator by `nextPageToken`, which all of Google's lists have.

    Google leaves an empty list out, so `{}` is the whole response of an empty list, and a page may
    be empty although another follows (https://google.aip.dev/158).

    Attributes:
        path: path below the origin's prefix.
        data_path: dotted keys of the list.
        params: parameters sent with every page.
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
            raise ProviderProtocolError("The page is not an object")
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
    """Observe the list for yesterday, unless that is done; errors as `ApiExtractor.run`."""
    table = TableName(org.dataset, config.table)
    if not org.days:
        return StepResult(status="SKIPPED", destination_table=str(table))
    snapshot = Snapshot(org, config)
    ensure_table(org.warehouse, table, snapshot.schema)
    days = sort_observed_days(org, table=config.table, observable=snapshot.yesterday, repeat=False)
    published = publish_days(org, snapshot, days.pending)
    return StepResult(
        rows_processed=published.row_count,
        destination_table=str(table),
        details={**published.build_details(), **days.build_details()},
    )


class Snapshot(DaySource):
    """Snapshot of one org's list in one run."""

    def __init__(self, org: OrgContext, config: ApiExtractorConfig) -> None:
        self._org = org
        self._config = config
        self._round_number = 0
        self.table = config.table
        self.schema = TableSchema.load(org.settings.configs_dir / config.schema_file)
        self.yesterday = org.now().astimezone(UTC).date() - timedelta(days=1)
        # Two rows with equal values in all columns of the list mean a broken response.
        self._listed_columns = [
            one.name for one in self.schema.fields if one.name not in ADDED_COLUMNS
        ]
        self._reader = FieldReader(
            get_column_types(self.schema), filled_by_caller=ADDED_COLUMNS, source=config.url
        )

    def prepare(self, attempts: Mapping[date, Attempt], *, round_number: int) -> None:
        """Keep the round's number; the list is read when a day's content is requested."""
        del attempts
        self._round_number = round_number

    def content(self, day: date) -> DayContent:
        """Read the list now and return its rows as the day's snapshot."""
        now = self._org.now()
        folder = self._org.spool_dir / f"{day}_{self._round_number}"
        # Pages of an earlier try are not resumed: another page may have changed since.
        spool = Spool.open(folder, fingerprint=fingerprint_of(uuid4().hex))
        self._observe(spool, observed_at=now.isoformat())
        files = spool.write_day_files(day_from_field(DAY), [day], unique_by=self._listed_columns)
        return DayContent(files[day], now)

    def _observe(self, spool: Spool, *, observed_at: str) -> None:
        filled_columns = {DAY: self.yesterday.isoformat(), "observed_at": observed_at}

        def to_rows(row: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
            return ({**self._reader.row(convert_to_snake_case(row)), **filled_columns},)

        with self._connect() as client:
            pages = TokenPages(
                urlsplit(self._config.url).path,
                self._config.data_path,
                tuple(self._config.params.items()),
            )
            limit = build_allowance(
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

    def _connect(self) -> OriginClient:
        """Return a client for the API, or for its emulator, with a fresh token."""
        settings, provider = self._org.settings, load_registry(self._org.settings).get(PROVIDER)
        token = fetch_token(service_account(self._org), self._config.scopes, settings=settings)
        emulator = settings.emulators.get(provider.base_url_variable or "")
        parts = urlsplit(self._config.url)
        return OriginClient.for_settings(
            emulator or f"{parts.scheme}://{parts.netloc}",
            settings=settings,
            headers={provider.auth.header: provider.auth.prefix + token.value},
            secrets=(token.value,),
        )


def convert_to_snake_case(row: Mapping[str, Any]) -> dict[str, Any]:
    """Rename Google's field names to our columns: `displayName` becomes `display_name`."""
    return {_HUMP.sub("_", name).lower(): value for name, value in row.items()}
