"""Observe today's balance as the closing balance of yesterday, with the spend since the last one.

The provider has no balances of the past. So the first run after a day observes it, once; it is
observed again only if a person clears the task. A day without an observation is NOT_OBSERVABLE in
the ledger. Its spend is part of the next observed day, whose period includes it.
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
    """The paginator of a response that is always one page."""

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
    account = Account(org, config, schema)
    days = observed_days(org, table=config.table, observable=account.yesterday, once=True)
    published = publish_days(org, days.todo, table=config.table, make=account.make_days)
    facts: dict[str, Any] = {**published.facts(), **days.details()}
    if account.unknown:
        facts["unknown_fields"] = dict(sorted(account.unknown.items()))
    return StepResult(
        rows_processed=published.row_count, destination_table=str(table), details=facts
    )


class Account:
    """The account of one org in one run.

    Attributes:
        yesterday: the day that an observation closes.
        unknown: counter of the fields without a column.
    """

    def __init__(self, org: OrgContext, config: BalanceConfig, schema: TableSchema) -> None:
        self._org = org
        self._config = config
        self._schema = schema
        self.yesterday = org.now().astimezone(UTC).date() - timedelta(days=1)
        self.unknown: Counter[str] = Counter()

    def make_days(
        self, attempts: Mapping[date, Attempt], round_: int
    ) -> Iterator[tuple[date, Publish]]:
        """Yield each day of the attempts with its publishing function, newest first."""
        for day in sorted(attempts, reverse=True):
            found = self._build_rows(day)
            spool = Spool.open(self._folder(f"{day}_{round_}"), fingerprint=fingerprint_of(found))
            if not spool.complete:
                spool.write_page(found, next_token=None)
            sealed = spool.write_day_files(
                day_of, [day], money_of=_read_money, unique_by=("currency",)
            )[day]
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

    def _build_rows(self, day: date) -> list[dict[str, Any]]:
        before = spend.observation_from_rows(
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
                before, now, day=day.isoformat(), top_up_step=Decimal(self._config.top_up_step)
            )
        )

    def _observe(self) -> Observation:
        """Return the present balances; a page of an earlier try is older and is not used."""
        observed_at = self._org.now()
        folder = self._folder("response")
        spool = Spool.open(folder, fingerprint=fingerprint_of(observed_at, uuid4().hex))
        found: list[Row] = []

        def keep_row(row: Row) -> tuple[Row, ...]:
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
                [Query("balance", BalancePage(), keep_row)],
                spool,
                retrier=Retrier(retry_policy(self._org, PROVIDER)),
                allowance=limit,
                quarantine=quarantine(self._org),
                raw=raw_pages(self._org, "balance", days=self._config.raw_days),
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
    """Return a balance with its amounts, which are documented as text and must add up."""
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
