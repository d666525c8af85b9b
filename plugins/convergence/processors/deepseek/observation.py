"""Read today's balance as yesterday's closing balance, and compute the spend since the last one.

DeepSeek does not report past balances. So the first run after a day observes it once; the
observation is repeated only where a person clears the task. A day without an observation is
NOT_OBSERVABLE in the ledger. Its spend is part of the next observed day, whose period covers it.
A response without any balance says nothing of the account: its day is NOT_OBSERVABLE too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

from convergence.errors import ProviderProtocolError, ShapeChangedError
from convergence.extract.paginate import Page, PageRequest, PageResponse, Row
from convergence.extract.ratelimit import RequestRate
from convergence.extract.retry import Retrier
from convergence.extract.spool import Spool, fingerprint_of
from convergence.extract.stream import Query, extract_pages
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.deepseek import spend
from convergence.processors.deepseek.config import BalanceConfig
from convergence.processors.deepseek.spend import Balance, Observation
from convergence.processors.lib.daily.cost_view import show_in_cost_daily
from convergence.processors.lib.daily.day_source import DayContent, DaySource
from convergence.processors.lib.daily.extraction import (
    build_allowance,
    connect_provider,
    retry_policy,
)
from convergence.processors.lib.daily.fields import amount, day_of
from convergence.processors.lib.daily.kept_responses import open_quarantine, open_raw_pages
from convergence.processors.lib.daily.observed import sort_observed_days
from convergence.processors.lib.daily.slices import publish_days, record_not_observable
from convergence.runs.publisher import Attempt
from convergence.warehouse.day_file import Money
from convergence.warehouse.names import TableName
from convergence.warehouse.query import run_file
from convergence.warehouse.schemas import TableSchema
from convergence.warehouse.tables.evolve import ensure_table

PROVIDER = "deepseek"
PATH = "/user/balance"
_AMOUNTS = ("total_balance", "granted_balance", "topped_up_balance")


@dataclass(frozen=True, slots=True)
class BalancePage:
    """Paginator of the balance, which is a single page."""

    def request(self, token: str | None) -> PageRequest:
        """See `Paginator`."""
        del token  # there is no second page
        return PageRequest(PATH)

    def read_page(self, response: PageResponse, *, token: str | None) -> Page:
        """See `Paginator`."""
        del token
        body = response.body if isinstance(response.body, dict) else {}
        infos, available = body.get("balance_infos"), body.get("is_available")
        if not isinstance(infos, list) or not isinstance(available, bool):
            raise ProviderProtocolError("The response is not a balance")
        return Page([{**_check_balance(info), "is_available": available} for info in infos], None)


def observe_balance(org: OrgContext, config: BalanceConfig) -> StepResult:
    """Observe the account for yesterday, unless that is done; no other day can be observed.

    Raises:
        ProviderUnavailableError: DeepSeek does not respond.
        ProviderRejectedError: DeepSeek rejects the credential.
        ProviderProtocolError: a response breaks the documented shape.
    """
    table = TableName(org.dataset, config.table)
    if not org.days:
        return StepResult(status="SKIPPED", destination_table=str(table))
    schema = TableSchema.load(org.settings.configs_dir / config.schema_file)
    ensure_table(org.warehouse, table, schema)
    show_in_cost_daily(org, config.source_view)
    account = AccountDays(org, config, schema)
    days = sort_observed_days(org, table=config.table, observable=account.yesterday, repeat=False)
    published = publish_days(org, account, days.pending)
    if account.empty_days:
        record_not_observable(org, account.empty_days, table=config.table)
        days.missed.extend(account.empty_days)
    details: dict[str, Any] = {**published.build_details(), **days.build_details()}
    if account.unknown:
        details["unknown_fields"] = dict(sorted(account.unknown.items()))
    return StepResult(
        rows_processed=published.row_count, destination_table=str(table), details=details
    )


class AccountDays(DaySource):
    """Days of one org's account in one run.

    Attributes:
        yesterday: the day whose closing balance is observed.
        unknown: counts each field without a column.
        empty_days: days whose response stated no balance.
    """

    def __init__(self, org: OrgContext, config: BalanceConfig, schema: TableSchema) -> None:
        self._org = org
        self._config = config
        self.table = config.table
        self.schema = schema
        self._round_number = 0
        self.yesterday = org.now().astimezone(UTC).date() - timedelta(days=1)
        self.unknown: Counter[str] = Counter()
        self.empty_days: list[date] = []

    def prepare(self, attempts: Mapping[date, Attempt], *, round_number: int) -> None:
        """Keep the round's number; each day is observed when its content is requested."""
        del attempts
        self._round_number = round_number

    def content(self, day: date) -> DayContent | None:
        """Observe the account now and return the rows of the day; None if it states no balance."""
        rows = self._build_rows(day)
        self.empty_days = [one for one in self.empty_days if one != day]
        if not rows:
            self.empty_days.append(day)
            return None
        folder = self._folder(f"{day}_{self._round_number}")
        spool = Spool.open(folder, fingerprint=fingerprint_of(rows))
        if not spool.complete:
            spool.write_page(rows, next_token=None)
        files = spool.write_day_files(day_of, [day], money_of=_read_money, unique_by=("currency",))
        return DayContent(files[day], self._org.now())

    def _build_rows(self, day: date) -> list[dict[str, Any]]:
        earlier = spend.earlier_from_rows(
            run_file(
                self._org.warehouse,
                self._org.settings.configs_dir / self._config.previous_file,
                identifiers={"dataset": self._org.dataset, "balance_table": self._config.table},
                params={"day": day},
            )
        )
        now = self._observe()
        return list(
            spend.build_rows(
                earlier, now, day=day.isoformat(), top_up_step=Decimal(self._config.top_up_step)
            )
        )

    def _observe(self) -> Observation:
        """Read the account's current balances; never use a page of an earlier try."""
        observed_at = self._org.now()
        folder = self._folder("response")
        spool = Spool.open(folder, fingerprint=fingerprint_of(observed_at, uuid4().hex))
        found: list[Row] = []

        def keep_row(row: Row) -> tuple[Row, ...]:
            found.append(row)
            self.unknown.update((row["extra"] or {}).keys())
            return ()

        with connect_provider(self._org, PROVIDER) as client:
            limit = build_allowance(
                self._org,
                PROVIDER,
                rate=RequestRate(self._config.requests_per_minute, seconds=60),
                host=client.origin.host,
            )
            extract_pages(
                client,
                [Query("balance", BalancePage(), keep_row)],
                spool,
                retrier=Retrier(retry_policy(self._org, PROVIDER)),
                allowance=limit,
                quarantine=open_quarantine(self._org),
                raw=open_raw_pages(self._org, "balance", days=self._config.raw_days),
            )
        return _build_observation(found, observed_at)

    def _folder(self, name: str) -> Path:
        return self._org.spool_dir / name


def _build_observation(infos: Sequence[Row], observed_at: datetime) -> Observation:
    balances = {
        info["currency"]: Balance(
            info["currency"],
            granted=info["granted_balance"],
            topped_up=info["topped_up_balance"],
            total=info["total_balance"],
            extra=info["extra"],
        )
        for info in infos
    }
    if len(balances) != len(infos):
        raise ProviderProtocolError("A currency appears twice")
    available = all(info["is_available"] for info in infos) if infos else None
    return Observation(observed_at, balances, available)


def _check_balance(info: object) -> dict[str, Any]:
    """Return a balance with its amounts; check that the parts add up to the total."""
    if not isinstance(info, dict) or not isinstance(info.get("currency"), str):
        raise ProviderProtocolError("A balance has no currency")
    try:
        amounts = {name: amount(info.get(name)) for name in _AMOUNTS}
    except TypeError as error:
        raise ShapeChangedError(
            f"A balance can't be read: {error}", field="balance_infos"
        ) from None
    if amounts["total_balance"] != amounts["granted_balance"] + amounts["topped_up_balance"]:
        raise ProviderProtocolError("A balance is not the sum of its parts")
    known = {"currency", *_AMOUNTS}
    extra = {name: info[name] for name in sorted(info) if name not in known}
    return {"currency": info["currency"].upper(), **amounts, "extra": extra or None}


def _read_money(row: Mapping[str, Any]) -> Money | None:
    if row["paid_spend"] is None:
        return None
    return Money(row["currency"], "computed", Decimal(row["paid_spend"]))
