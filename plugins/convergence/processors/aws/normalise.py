"""Turn the files of a period into rows: read streams, apply FOCUS cost columns, add up by day.

There is one row per day, account, service, kind of usage, resource and set of tags, however many
lines the files have. `line_sums` limits the memory that they take.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import polars as pl

from convergence.errors import ProviderProtocolError
from convergence.processors.aws.columns import DOCUMENTED, REQUIRED, Kind
from convergence.processors.aws.csv_pieces import pieces
from convergence.processors.aws.line_columns import build_columns
from convergence.processors.aws.line_costs import LINE_TYPES, NOTHING, split_unused
from convergence.processors.aws.line_reader import AMOUNTS, QUANTITY, Lines
from convergence.processors.aws.line_sums import PartialSums
from convergence.processors.aws.name_pairs import canonical_pairs
from convergence.processors.lib.daily.fields import money

KEYS: Final = (
    *("usage_date", "line_type", "charge_category", "charge_class", "charge_frequency"),
    *("billing_account_id", "sub_account_id", "sub_account_name", "service_code", "service_name"),
    *("service_category", "sku_id", "usage_type", "operation", "region", "pricing_category"),
    *("unit", "currency", "invoice_id", "invoice_issuer", "publisher", "region_name"),
    *("availability_zone", "resource_id", "resource_name", "resource_type", "tags"),
    *("cost_categories", "commitment_id", "commitment_type", "commitment_category"),
    "commitment_status",
)
"""Columns that identify a row."""

LINES_PER_PIECE: Final = 65_536
"""Of a Parquet file."""

_PAIRS: Final = ("tags", "cost_categories")
_SUMS: Final = (*AMOUNTS, "usage_quantity", "line_count")
_FIRST: Final = ("charge_period_start", "charge_description")
_LAST: Final = ("charge_period_end",)
_LINE_ERRORS: Final = {
    "bad_amount": "an amount is not a number",
    "no_day": "a line has no day",
    "no_currency": "a line has no currency",
    "no_category": "a line has no kind of charge",
    "other_period": "a line belongs to another billing period",
}
_COUNTED: Final = {
    "without_amount": "lines_without_amount",
    "without_effective": "lines_without_effective_cost",
}
_MIN, _MAX, _SEEN = "min|", "max|", "seen|"


@dataclass(frozen=True, slots=True)
class Month:
    """A billing period and the days that its lines may count on.

    Attributes:
        first: its first day, UTC.
        last: its last day, or today where that is earlier: no slice lies in the future.
    """

    first: date
    last: date

    @property
    def name(self) -> str:
        """`2026-11`."""
        return f"{self.first:%Y-%m}"


@dataclass
class Sums:
    """The sums of a period so far.

    A line whose charge begins outside its billing period, as late usage and fees paid ahead may,
    counts on the period's nearest day: a period is published whole and touches no other's days.
    `charge_period_start` keeps when the charge began.
    """

    kind: Kind
    month: Month
    unknown: Counter[str] = field(default_factory=Counter)
    """Lines that have a value in a column which AWS does not document, by column."""
    counted: Counter[str] = field(default_factory=Counter)
    lines: int = 0
    folder: Path | None = None
    """Takes the sums that memory does not."""
    _sums: PartialSums = field(init=False)
    _line_types: set[str] = field(default_factory=set)
    _invoiced: bool = False
    _not_invoiced: bool = False

    def __post_init__(self) -> None:
        self._sums = PartialSums(_merged, self.folder)

    def add_csv(self, path: Path, *, file: str, max_bytes: int) -> None:
        """Add a gzip-compressed CSV file; all of it or, with an error, the period is lost.

        Raises:
            ProviderProtocolError: it is truncated, no gzip, too large, or not such an export.
        """
        found = pieces(path, file=file, max_bytes=max_bytes)
        names = next(found).decode().split("\n")
        self._check_header(names, file)
        schema = dict.fromkeys(names, pl.String)
        for piece in found:
            frame = pl.scan_csv(piece, has_header=False, schema=schema, raise_if_empty=False)
            self._add(frame, file)

    def add_parquet(self, path: Path, *, file: str) -> None:
        """Add a Parquet file; as `add_csv`."""
        with _named(file):
            frame = pl.scan_parquet(path, glob=False)
            names = frame.collect_schema().names()
            lines = int(frame.select(pl.len()).collect().item())
        self._check_header(names, file)
        # Asked for whole, Polars holds far more of the file than it needs at a time.
        for start in range(0, lines, LINES_PER_PIECE):
            self._add(frame.slice(start, LINES_PER_PIECE), file)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the period's rows as the table has them, by day and in order of `KEYS`.

        Amounts have 9 decimals. What rounding takes from one row goes to a later one of its day and
        currency, so that a day's rows add up to its exact sum, rounded once.
        """
        named = [c.removeprefix(_MIN) for c in self._sums.columns if c.startswith(_MIN)]
        for day in self._sums.days():
            rounding = _Rounding()
            for row in day.sort(KEYS).iter_rows(named=True):
                yield {
                    **{key: row[key] for key in KEYS},
                    **{name: row[name] for name in (*_FIRST, *_LAST)},
                    **{name: rounding.round_amount(row, name) for name in AMOUNTS},
                    "usage_quantity": money(row["usage_quantity"]),
                    "usage_date": row["usage_date"].isoformat(),
                    "billing_period": self.month.first.isoformat(),
                    "line_count": row["line_count"],
                    "extra": _extra(row, named),
                }

    @property
    def invoiced(self) -> bool:
        """Whether everything that costs has its invoice: AWS fills it when the bill is final."""
        return self._invoiced and not self._not_invoiced

    @property
    def unknown_line_types(self) -> list[str]:
        """Line types of CUR 2.0 that AWS does not document; they count as adjustments."""
        if self.kind != "cur2":
            return []
        return sorted(one for one in self._line_types - LINE_TYPES if not one.endswith("Discount"))

    def _check_header(self, names: list[str], file: str) -> None:
        if missing := [name for name in REQUIRED[self.kind] if name not in names]:
            raise ProviderProtocolError(
                f"The file is not such an export; it lacks the columns {', '.join(missing)}",
                file=file,
                kind=self.kind,
            )
        if len(set(names)) != len(names):
            raise ProviderProtocolError("The file names a column twice", file=file)

    def _add(self, frame: pl.LazyFrame, file: str) -> None:
        with _named(file):
            found = _added_up(frame, self.kind, self.month)
        lines = int(found["line_count"].sum())
        for name, reason in _LINE_ERRORS.items():
            if count := int(found[name].sum()):
                raise ProviderProtocolError(
                    f"The file can't be read: {reason}", file=file, lines=count, of=lines
                )
        self.lines += lines
        for name in _COUNTED:
            self.counted[name] += int(found[name].sum())
        for name in found.columns:
            if name.startswith(_SEEN) and (count := int(found[name].sum())):
                self.unknown[name.removeprefix(_SEEN)] += count
        found = found.drop(*_LINE_ERRORS, *_COUNTED, pl.selectors.starts_with(_SEEN))
        self._note_invoices(found)
        self._sums.add(found.with_columns(canonical_pairs(found[name]) for name in _PAIRS))

    def _note_invoices(self, found: pl.DataFrame) -> None:
        self._line_types.update(found["line_type"].unique().drop_nulls())
        on_invoice = pl.col("invoice_id").is_not_null()
        costs = pl.col("billed_cost") != NOTHING
        open_, closed = found.select(
            (costs & ~on_invoice).any().alias("open"), on_invoice.any().alias("closed")
        ).row(0)
        self._not_invoiced |= bool(open_)
        self._invoiced |= bool(closed)

    def counts(self) -> dict[str, int]:
        """Return the counts of unusual lines, by name; they are not errors."""
        return {label: self.counted[name] for name, label in _COUNTED.items() if self.counted[name]}


def _added_up(frame: pl.LazyFrame, kind: Kind, month: Month) -> pl.DataFrame:
    schema = frame.collect_schema()
    lines = Lines(schema)
    columns = build_columns(lines, kind)
    day = columns["charge_period_start"].str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False)
    unknown = [name for name in schema.names() if name not in DOCUMENTED[kind]]
    picked = frame.select(
        **columns,
        usage_date=day.clip(month.first, month.last),
        bad_amount=pl.any_horizontal(lines.doubtful),
        **{_SEEN + name: pl.col(name).is_not_null() for name in unknown},
        **{_MIN + name: _kept(lines, schema[name], name) for name in unknown},
    )
    costs = pl.col("billed_cost").is_not_null()
    checked = picked.with_columns(
        no_day=pl.col("usage_date").is_null(),
        no_currency=pl.col("currency").is_null(),
        no_category=pl.col("charge_category").is_null(),
        other_period=pl.col("period").ne_missing(month.name),
        without_amount=~costs,
        without_effective=pl.col("effective_cost").is_null() & costs,
        line_count=pl.lit(1, pl.Int64),
    )
    counted = [*_LINE_ERRORS, *_COUNTED, *(_SEEN + name for name in unknown)]
    charges = split_unused(checked, counted=["line_count", *counted]) if kind == "cur2" else checked
    return (
        charges.group_by(KEYS)
        .agg(
            *(pl.col(name).fill_null(NOTHING).sum() for name in AMOUNTS),
            pl.col("usage_quantity").fill_null(pl.lit(0).cast(QUANTITY)).sum(),
            pl.col("line_count").sum(),
            *(pl.col(name).cast(pl.Int64).sum() for name in counted),
            *(pl.col(name).min() for name in _FIRST),
            *(pl.col(name).max() for name in _LAST),
            *(pl.col(_MIN + name).max().alias(_MAX + name) for name in unknown),
            *(pl.col(_MIN + name).min() for name in unknown),
        )
        .collect(engine="streaming")
    )


def _kept(lines: Lines, kind: pl.DataType, name: str) -> pl.Expr:
    return pl.lit(None, pl.String) if kind.is_nested() else lines.text(name)


def _merged(parts: pl.LazyFrame) -> pl.LazyFrame:
    names = parts.collect_schema().names()
    return parts.group_by(KEYS).agg(
        *(pl.col(name).sum() for name in _SUMS),
        *(pl.col(name).min() for name in names if name.startswith(_MIN) or name in _FIRST),
        *(pl.col(name).max() for name in names if name.startswith(_MAX) or name in _LAST),
    )


class _Rounding:
    """Rounds the amounts of one day so that their sum is rounded once."""

    def __init__(self) -> None:
        self._carried: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)

    def round_amount(self, row: Mapping[str, Any], name: str) -> Decimal:
        """Return an amount of a row with 9 decimals; keep what is left for the next row."""
        exact: Decimal = row[name]
        if not exact:
            return money(exact)
        key = row["currency"], name
        exact += self._carried[key]
        rounded = money(exact)
        self._carried[key] = exact - rounded
        return rounded


def _extra(row: Mapping[str, Any], names: list[str]) -> dict[str, Any] | None:
    """Return a row's undocumented columns: their value, or the minimum and maximum."""
    kept: dict[str, Any] = {}
    for name in sorted(names):
        minimum, maximum = row[_MIN + name], row[_MAX + name]
        if minimum is not None:
            kept[name] = minimum if minimum == maximum else [minimum, maximum]
    return kept or None


@contextmanager
def _named(file: str) -> Iterator[None]:
    """Translate the errors of Polars, which may quote what a line holds."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise ProviderProtocolError(
            "The file can't be read", file=file, error=type(error).__name__
        ) from None
