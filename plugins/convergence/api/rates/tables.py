"""What an organization pays a provider by: defaults it follows, terms of its own, their history.

Prices of models and plans with seats are such terms: dated rows of one table each, the
organization's own beside the defaults, never changed but ended and followed by others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from convergence.api.http.problems import InvalidFieldsError, fault
from convergence.api.http.services import Services
from convergence.errors import NotFoundError
from convergence.providers.registry import Provider, load_registry
from convergence.state.leases import hold_lease
from convergence.tenants.audit import Actor, AuditedAction, audit_change
from convergence.warehouse.params import typed
from convergence.warehouse.query import Row, run_dml, run_file
from convergence.warehouse.schemas import TableSchema

MONEY_TOLD = "must be a number from 0 to a billion, with 9 decimals at most"
_NOT_OURS = frozenset({"is_override", "updated_at"})
_OWN = {"price_version": "own", "effective_basis": "announced"}
_MOST = Decimal(10) ** 9
_MOST_DECIMALS = 9  # scale of BigQuery's NUMERIC


@dataclass(frozen=True)
class Kind:
    """A kind of terms.

    Attributes:
        suffix: how the names of its tables end.
        sku: columns that tell terms apart on one day, the one that paths name first.
        action: what the audit log calls a change.
        missing: why a provider has none.
    """

    suffix: str
    sku: tuple[str, ...]
    action: str
    missing: str


class Terms:
    """One org's terms of one kind with one provider."""

    def __init__(self, services: Services, kind: Kind, *, org_slug: str, provider: str) -> None:
        """Find the provider's table of them.

        Raises:
            NotFoundError: there is no such provider, or it has no such terms.
        """
        self._services = services
        self._org = org_slug
        self._kind = kind
        self.provider = load_registry(services.settings).get(provider)
        schema = _schema(services, self.provider, kind.suffix)
        if schema is None:
            raise NotFoundError(kind.missing, provider=provider)
        self._table = schema.table
        self._columns = {field.name: field.type for field in schema.fields}
        self._sku = tuple(name for name in kind.sku if name in self._columns)

    @property
    def columns(self) -> Sequence[str]:
        """Every column of the table."""
        return tuple(self._columns)

    def rows(self, *, name: str | None, day: date | None) -> list[Row]:
        """Terms in force on a day, or with their whole history, newest first."""
        return self._run("list", name=name or "", whole_history=day is None, day=typed(day, "DATE"))

    def put(self, values: Mapping[str, object], *, by: Actor, now: datetime) -> list[Row]:
        """Set terms of the org's own from a day on; those before end on it. Give the history.

        Args:
            values: by column, with the SKU's and `effective_from`; what is absent is null.
            by: who asks.
            now: the instant.

        Raises:
            InvalidFieldsError: they end before they begin, or overlap own ones that begin later.
            RequestInFlightError: the org's terms are being changed at this moment.
        """
        own = {name: kind for name, kind in self._columns.items() if name not in _NOT_OURS}
        told = {**dict.fromkeys(own), **_OWN, **values}
        keys = (*self._sku, "effective_from")
        name = str(told[self._sku[0]])
        act = AuditedAction(self._org, by, f"{self._kind.action}.put", f"{self.provider.id}/{name}")
        with hold_lease(self._services.store, f"terms|{self._org}|{self._table}"):
            self._refuse_overlap(told)
            details = {"effective_from": str(told["effective_from"])}
            with audit_change(self._services.store, act, now=now, details=details):
                run_dml(
                    self._services.warehouse,
                    self._services.warehouse.sql("terms/put_own.sql"),
                    identifiers={
                        **self._names,
                        "keys": keys,
                        "values": [name for name in own if name not in keys],
                    },
                    params={
                        "terms": [{name: typed(told[name], kind) for name, kind in own.items()}],
                        "now": now,
                    },
                )
        return self.rows(name=name, day=None)

    def end(self, name: str | None, *, day: date, by: Actor, now: datetime) -> int:
        """End the org's own terms, of a model or plan or of all, on a day; how many there were.

        Raises:
            NotFoundError: the org has none of its own of this name.
        """
        ending = [row for row in self.rows(name=name, day=None) if _is_own_after(row, day)]
        if name is not None and not ending:
            raise NotFoundError("no own terms of this name", name=name)
        target = f"{self.provider.id}/{name or '*'}"
        act = AuditedAction(self._org, by, f"{self._kind.action}.end", target)
        with audit_change(self._services.store, act, now=now, details={"day": day.isoformat()}):
            self._run("end_own", name=name or "", day=day, now=now)
        return len(ending)

    def _refuse_overlap(self, told: Mapping[str, Any]) -> None:
        begins, ends = told["effective_from"], told["effective_to"]
        if ends is not None and ends <= begins:
            raise InvalidFieldsError([fault("body.effective_to", "is not after effective_from")])
        later = [
            row["effective_from"]
            for row in self.rows(name=str(told[self._sku[0]]), day=None)
            if _is_own_after(row, begins)
            and row["effective_from"] > begins
            and all(row[column] == told[column] for column in self._sku)
        ]
        if later and (ends is None or ends > min(later)):
            other = f"overlaps the own one from {min(later)} on; it must end by that day"
            raise InvalidFieldsError([fault("body.effective_to", other)])

    @property
    def _names(self) -> dict[str, str | Sequence[str]]:
        dataset = self._services.settings.org_dataset(self._org)
        return {"dataset": dataset, "table": self._table, "sku": self._sku}

    def _run(self, statement: str, **params: object) -> list[Row]:
        warehouse = self._services.warehouse
        path = warehouse.sql(f"terms/{statement}.sql")
        return run_file(warehouse, path, identifiers=self._names, params=params)


def provider_of(services: Services, kind: Kind, name: str) -> tuple[Provider, bool]:
    """A provider, and whether it has terms of a kind.

    Raises:
        NotFoundError: there is no such provider.
    """
    provider = load_registry(services.settings).get(name)
    return provider, _schema(services, provider, kind.suffix) is not None


def amount(value: object) -> Decimal | None:
    """A sound amount of money, never by way of a float's arithmetic; None for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    if not found.is_finite() or not 0 <= found <= _MOST:
        return None
    exponent = found.normalize().as_tuple().exponent
    return found if isinstance(exponent, int) and -exponent <= _MOST_DECIMALS else None


def shown(row: Row) -> dict[str, object]:
    """A row as answers have it: amounts as decimal text."""
    return {
        name: format(value.normalize(), "f") if isinstance(value, Decimal) else value
        for name, value in row.items()
    }


def _schema(services: Services, provider: Provider, suffix: str) -> TableSchema | None:
    folder = services.settings.configs_dir / provider.id / "seed" / "schemas"
    for table in provider.data_tables:
        path = folder / f"{table}.json"
        if table.endswith(suffix) and path.is_file():
            return TableSchema.load(path)
    return None


def _is_own_after(row: Row, day: date) -> bool:
    """Whether a row is the org's own and in force at some time from the day on."""
    ends = row["effective_to"]
    lasts = ends is None or (ends > day and ends > row["effective_from"])
    return bool(row["is_override"]) and lasts
