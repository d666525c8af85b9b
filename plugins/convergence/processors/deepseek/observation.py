"""The balance of today as the closing balance of yesterday, and what was spent since the last one.

A balance can't be asked for in retrospect. So a day is observed once, by the first run after it;
an observation is made again only where a person clears the task. A day that nobody observed is
NOT_OBSERVABLE in the ledger, its spend being in the next observed one, whose period says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
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
from convergence.processors.lib.daily.extraction import (
    allowance,
    provider_client,
    publish_sealed,
    retry_policy,
)
from convergence.processors.lib.daily.fields import amount, day_of
from convergence.processors.lib.daily.kept_responses import quarantine, raw_pages
from convergence.processors.lib.daily.observed import observed_days
from convergence.processors.lib.daily.slices import Publish, publish_days
from convergence.runs.publisher import Attempt
from convergence.warehouse.day_file import Money
from convergence.warehouse.evolve import ensure_table
from convergence.warehouse.names import TableName
from convergence.warehouse.query import run_file
from convergence.warehouse.schemas import TableSchema

PROVIDER = "deepseek"
PATH = "/user/balance"
_AMOUNTS = ("total_balance", "granted_balance", "topped_up_balance")


@dataclass(frozen=True, slots=True)
class BalancePage:
    """The one page there is."""

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
            raise ProviderProtocolError("The answer is no balance")
        return Page([{**_checked(info), "is_available": available} for info in infos], None)


def observe(org: OrgContext, config: BalanceConfig) -> StepResult:
    """Observe the account for yesterday, if nobody has; no other day can be observed.

    Raises:
        ProviderUnavailableError: DeepSeek does not answer.
        ProviderRejectedError: DeepSeek refuses the credential.
        ProviderProtocolError: an answer breaks the documented shape.
    """
    table = TableName(org.dataset, config.table)
    if not org.days:
        return StepResult(status="SKIPPED", destination_table=str(table))
    schema = TableSchema.load(org.settings.configs_dir / config.schema_file)
    ensure_table(org.warehouse, table, schema)
    show_in_cost_daily(org, config.source_view)
    account = Account(org, config, schema)
    days = observed_days(org, table=config.table, observable=account.yesterday, once=True)
    published = publish_days(org, days.todo, table=config.table, make=account.make)
    facts: dict[str, Any] = {**published.facts(), **days.details()}
    if account.unknown:
        facts["unknown_fields"] = dict(sorted(account.unknown.items()))
    return StepResult(
        rows_processed=published.row_count, destination_table=str(table), details=facts
    )


class Account:
    """One org's account in one run.

    Attributes:
        yesterday: the day that an observation closes.
        unknown: how often each field without a column was seen.
    """

    def __init__(self, org: OrgContext, config: BalanceConfig, schema: TableSchema) -> None:
        self._org = org
        self._config = config
        self._schema = schema
        self.yesterday = org.now().astimezone(UTC).date() - timedelta(days=1)
        self.unknown: Counter[str] = Counter()

    def make(self, attempts: Mapping[date, Attempt], round_: int) -> Iterator[tuple[date, Publish]]:
        """The content of the days whose attempts are given, newest first."""
        for day in sorted(attempts, reverse=True):
            found = self._rows(day)
            spool = Spool.open(self._folder(f"{day}_{round_}"), fingerprint=fingerprint_of(found))
            if not spool.complete:
                spool.write_page(found, next_token=None)
            sealed = spool.write_day_files(day_of, [day], money_of=_money, unique_by=("currency",))[
                day
            ]
            yield (
                day,
                partial(
                    publish_sealed,
                    self._org,
                    attempts[day],
                    sealed,
                    table=self._config.table,
                    schema=self._schema,
                    now=self._org.now(),
                ),
            )

    def _rows(self, day: date) -> list[dict[str, Any]]:
        before = spend.read(
            run_file(
                self._org.warehouse,
                self._org.settings.configs_dir / self._config.previous_file,
                identifiers={"dataset": self._org.dataset, "balance_table": self._config.table},
                params={"day": day},
            )
        )
        now = self._observation()
        return list(
            spend.rows(
                before, now, day=day.isoformat(), top_up_step=Decimal(self._config.top_up_step)
            )
        )

    def _observation(self) -> Observation:
        """What the account holds now; a page of an earlier try is older and not used."""
        observed_at = self._org.now()
        folder = self._folder("answer")
        spool = Spool.open(folder, fingerprint=fingerprint_of(observed_at, uuid4().hex))
        found: list[Row] = []

        def keep(row: Row) -> tuple[Row, ...]:
            found.append(row)
            self.unknown.update((row["extra"] or {}).keys())
            return ()

        with provider_client(self._org, PROVIDER) as client:
            limit = allowance(
                self._org,
                PROVIDER,
                rate=RequestRate(self._config.requests_per_minute, seconds=60),
                host=client.origin.host,
            )
            extract_pages(
                client,
                [Query("balance", BalancePage(), keep)],
                spool,
                retrier=Retrier(retry_policy(self._org, PROVIDER)),
                allowance=limit,
                quarantine=quarantine(self._org),
                raw=raw_pages(self._org, "balance", days=self._config.raw_days),
            )
        return _observation(found, observed_at)

    def _folder(self, name: str) -> Path:
        return self._org.spool_dir / name


def _observation(infos: Sequence[Row], observed_at: datetime) -> Observation:
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
        raise ProviderProtocolError("A currency comes twice")
    available = all(info["is_available"] for info in infos) if infos else None
    return Observation(observed_at, balances, available)


def _checked(info: object) -> dict[str, Any]:
    """A balance with its amounts, which are documented as text and add up."""
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


def _money(row: Mapping[str, Any]) -> Money | None:
    if row["paid_spend"] is None:
        return None
    return Money(row["currency"], "computed", Decimal(row["paid_spend"]))
