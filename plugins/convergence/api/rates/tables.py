"""Rates of an organization with a provider: default rates, organization-specific rates, history.

Prices of models and plans with seats are such rates. Each kind has one table of dated rows, where
organization-specific rows stand next to the defaults. A row is never changed: it is ended, and
another row follows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from pydantic import BaseModel

from convergence.api.http.problems import InvalidFieldsError, build_field_error
from convergence.api.http.services import ApiServices
from convergence.errors import NotFoundError
from convergence.providers.registry import Provider, load_registry
from convergence.state.leases import hold_lease
from convergence.tenants.audit import Actor, AuditedAction, audit_change
from convergence.warehouse.params import typed
from convergence.warehouse.query import Row, run_dml, run_file
from convergence.warehouse.schemas import TableSchema

# Set by the SQL file.
_COMPUTED_COLUMNS = frozenset({"is_override", "updated_at"})
_OVERRIDE_VALUES = {"price_version": "own", "effective_basis": "announced"}


@dataclass(frozen=True)
class RateKind:
    """A kind of rates.

    Attributes:
        suffix: suffix of the names of its tables.
        sku: columns that distinguish rates of one day; paths name the first of them.
        action: prefix of its actions in the audit log.
        missing: why a provider has no such rates.
        empty_for_llm: whether an LLM provider without a table has an empty list of rates.
        build_values: returns the values by column of a request, for the table's columns.
        build_list: returns the response for the rows of an org and a provider.
    """

    suffix: str
    sku: tuple[str, ...]
    action: str
    missing: str
    empty_for_llm: bool
    build_values: Callable[[Any, Sequence[str]], Mapping[str, object]]
    build_list: Callable[[str, str, Sequence[Row]], BaseModel]


class OrgRates:
    """One org's rates of one kind with one provider."""

    def __init__(
        self, services: ApiServices, kind: RateKind, *, org_slug: str, provider: str
    ) -> None:
        """Find the provider's table of rates.

        Raises:
            NotFoundError: the provider is unknown or has no such rates.
        """
        self._services = services
        self._org = org_slug
        self._kind = kind
        self.provider = load_registry(services.settings).get(provider)
        self._schema = _load_schema(services, self.provider, kind.suffix)
        may_be_empty = kind.empty_for_llm and self.provider.kind == "llm"
        if self._schema is None and not may_be_empty:
            raise NotFoundError(kind.missing, provider=provider)

    def list_rates(self, *, name: str | None, day: date | None) -> BaseModel:
        """Return the rates of a day, or with their whole history, newest first."""
        return self._build_list(self._read_rows(name=name, day=day) if self._schema else [])

    def put_rate(self, name: str, request: BaseModel, *, by: Actor, now: datetime) -> BaseModel:
        """Set an organization-specific rate from a day on, which ends the previous one.

        Args:
            name: the model or plan.
            request: the rate with its first day.
            by: the caller.
            now: the instant.

        Returns:
            The rates of this name with their history.

        Raises:
            NotFoundError: the provider has no such rates.
            InvalidFieldsError: a value is invalid, the rate ends before it begins, or it overlaps
                an organization-specific rate that begins later.
            RequestInFlightError: another request is changing the org's rates.
        """
        columns = self._columns
        chosen = self._kind.build_values(request, tuple(columns))
        stored = {name: kind for name, kind in columns.items() if name not in _COMPUTED_COLUMNS}
        values = {**dict.fromkeys(stored), **_OVERRIDE_VALUES, **chosen, self._kind.sku[0]: name}
        act = AuditedAction(self._org, by, f"{self._kind.action}.put", f"{self.provider.id}/{name}")
        details = {"effective_from": str(values["effective_from"])}
        # The lease makes check and write one step: two requests could else create an overlap, and
        # usage of its days would have two prices.
        with hold_lease(self._services.store, f"terms|{self._org}|{self._table}"):
            self._check_overlap(values)
            with audit_change(self._services.store, act, now=now, details=details):
                self._write_row(stored, values, now=now)
        return self._build_list(self._read_rows(name=name, day=None))

    def end_rates(self, name: str | None, *, day: date, by: Actor, now: datetime) -> int:
        """End the organization-specific rates of a name, or all, on a day; return their number.

        Raises:
            NotFoundError: the org has no organization-specific rate of this name.
        """
        if name is None and self._schema is None:
            return 0
        ending = [row for row in self._read_rows(name=name, day=None) if _is_override(row, day)]
        if name is not None and not ending:
            raise NotFoundError("no organization-specific rate of this name", name=name)
        target = f"{self.provider.id}/{name or '*'}"
        act = AuditedAction(self._org, by, f"{self._kind.action}.end", target)
        with audit_change(self._services.store, act, now=now, details={"day": day.isoformat()}):
            self._run_statement("end_own", name=name or "", day=day, now=now)
        return len(ending)

    @property
    def _columns(self) -> dict[str, str]:
        return {field.name: field.type for field in self._require_schema().fields}

    @property
    def _sku(self) -> tuple[str, ...]:
        columns = self._columns
        return tuple(name for name in self._kind.sku if name in columns)

    @property
    def _table(self) -> str:
        return self._require_schema().table

    @property
    def _identifiers(self) -> dict[str, str | Sequence[str]]:
        dataset = self._services.settings.org_dataset(self._org)
        return {"dataset": dataset, "table": self._table, "sku": self._sku}

    def _require_schema(self) -> TableSchema:
        if self._schema is None:
            raise NotFoundError(self._kind.missing, provider=self.provider.id)
        return self._schema

    def _build_list(self, rows: Sequence[Row]) -> BaseModel:
        return self._kind.build_list(self._org, self.provider.id, rows)

    def _read_rows(self, *, name: str | None, day: date | None) -> list[Row]:
        return self._run_statement(
            "list", name=name or "", whole_history=day is None, day=typed(day, "DATE")
        )

    def _run_statement(self, statement: str, **params: object) -> list[Row]:
        warehouse = self._services.warehouse
        path = warehouse.sql(f"terms/{statement}.sql")
        return run_file(warehouse, path, identifiers=self._identifiers, params=params)

    def _write_row(
        self, stored: Mapping[str, str], values: Mapping[str, object], *, now: datetime
    ) -> None:
        warehouse = self._services.warehouse
        keys = (*self._sku, "effective_from")
        run_dml(
            warehouse,
            warehouse.sql("terms/put_own.sql"),
            identifiers={
                **self._identifiers,
                "keys": keys,
                "values": [name for name in stored if name not in keys],
            },
            params={
                "terms": [{name: typed(values[name], kind) for name, kind in stored.items()}],
                "now": now,
            },
        )

    def _check_overlap(self, values: Mapping[str, Any]) -> None:
        begins, ends = values["effective_from"], values["effective_to"]
        if ends is not None and ends <= begins:
            raise _build_end_error("must be after effective_from")
        sku = self._sku
        later = [
            row["effective_from"]
            for row in self._read_rows(name=str(values[sku[0]]), day=None)
            if _is_override(row, begins)
            and row["effective_from"] > begins
            and all(row[column] == values[column] for column in sku)
        ]
        if later and (ends is None or ends > min(later)):
            raise _build_end_error(
                f"overlaps the organization-specific rate that begins on {min(later)}; "
                "it must end by that day"
            )


def _load_schema(services: ApiServices, provider: Provider, suffix: str) -> TableSchema | None:
    folder = services.settings.configs_dir / provider.id / "seed" / "schemas"
    for table in provider.data_tables:
        path = folder / f"{table}.json"
        if table.endswith(suffix) and path.is_file():
            return TableSchema.load(path)
    return None


def _is_override(row: Row, day: date) -> bool:
    """Return whether a row is organization-specific and applies on the day or later."""
    ends = row["effective_to"]
    lasts = ends is None or (ends > day and ends > row["effective_from"])
    return bool(row["is_override"]) and lasts


def _build_end_error(message: str) -> InvalidFieldsError:
    return InvalidFieldsError([build_field_error("body.effective_to", message)])
