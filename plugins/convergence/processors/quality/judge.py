"""Compare measured with expected values: pure, one verdict per expectation and day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from convergence.processors.quality.suite import (
    AcceptedValues,
    Expectation,
    NotNull,
    Range,
    RowCount,
    Severity,
    SumsTie,
    Unique,
)

_MAX_SHOWN = 5
"""Columns, groups or values that a verdict names; the others are counted."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A line of a measuring query.

    Attributes:
        subject: the column, columns or group that was measured.
        rows: rows of the day, where they were counted.
        failing: those that don't meet the expectation.
        left: the left side's sum, where sums are compared.
        right: the right side's.
    """

    day: date
    subject: str
    rows: int = 0
    failing: int = 0
    left: Decimal = Decimal(0)
    right: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether an expectation was met on a day, with what was found and what was expected."""

    expectation: str
    severity: Severity
    table: str
    day: date
    passed: bool
    observed: str
    expected: str
    failing_rows: int | None = None

    @property
    def message(self) -> str:
        """The verdict in a sentence."""
        outcome = "met" if self.passed else "not met"
        return (
            f"{self.expectation} on {self.table}, {self.day.isoformat()}: {outcome}; "
            f"observed {self.observed}; expected {self.expected}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of run records and the HTTP API."""
        return {
            "expectation": self.expectation,
            "severity": self.severity,
            "table": self.table,
            "day": self.day.isoformat(),
            "observed": self.observed,
            "expected": self.expected,
            "message": self.message,
        }


def judge(
    expectation: Expectation, measured: Iterable[Measured], *, days: Sequence[date]
) -> list[Verdict]:
    """Return a verdict per day, in the order of `days`; a day without rows has one too."""
    of_day: dict[date, list[Measured]] = defaultdict(list)
    for one in measured:
        of_day[one.day].append(one)
    for lines in of_day.values():
        lines.sort(key=lambda one: one.subject)
    if isinstance(expectation, RowCount):
        return [_judge_growth(expectation, of_day, day) for day in days]
    if isinstance(expectation, SumsTie):
        return [_judge_balance(expectation, of_day.get(day, ()), day) for day in days]
    return [_judge_rows(expectation, of_day.get(day, ()), day) for day in days]


def expected(expectation: Expectation) -> str:
    """Describe what an expectation requires."""
    return _EXPECTED[type(expectation)](expectation)


def days_read(expectation: Expectation, days: Sequence[date]) -> list[date]:
    """Return the days that a query must read to judge these days."""
    before = {day - timedelta(days=1) for day in days} if isinstance(expectation, RowCount) else ()
    return sorted({*days, *before})


def _judge_rows(
    expectation: NotNull | Unique | Range | AcceptedValues, lines: Sequence[Measured], day: date
) -> Verdict:
    failing = [one for one in lines if one.failing]
    if failing:
        observed = _list([f"{one.subject}: {one.failing} of {one.rows} rows" for one in failing])
    else:
        observed = f"{lines[0].rows} rows, all good" if lines else "no rows"
    return _verdict(
        expectation,
        day,
        passed=not failing,
        observed=observed,
        failing_rows=sum(one.failing for one in failing),
    )


def _judge_growth(
    expectation: RowCount, of_day: Mapping[date, Sequence[Measured]], day: date
) -> Verdict:
    now, before = (
        sum(one.rows for one in of_day.get(when, ())) for when in (day, day - timedelta(days=1))
    )
    lowest, highest = expectation.at_least * before, expectation.at_most
    passed = not before or (now >= lowest and (highest is None or now <= highest * before))
    observed = (
        f"{now} rows, {before} the day before" if before else f"{now} rows, none the day before"
    )
    return _verdict(expectation, day, passed=passed, observed=observed)


def _judge_balance(expectation: SumsTie, lines: Sequence[Measured], day: date) -> Verdict:
    apart = [one for one in lines if abs(one.left - one.right) > expectation.tolerance]
    shown = apart or lines
    observed = _list([_difference(one) for one in shown]) if shown else "no rows on either side"
    return _verdict(expectation, day, passed=not apart, observed=observed)


def _difference(one: Measured) -> str:
    group = f"{one.subject}: " if one.subject else ""
    return f"{group}{plain(one.left)} against {plain(one.right)}"


def _verdict(
    expectation: Expectation,
    day: date,
    *,
    passed: bool,
    observed: str,
    failing_rows: int | None = None,
) -> Verdict:
    return Verdict(
        expectation=expectation.id,
        severity=expectation.severity,
        table=expectation.table,
        day=day,
        passed=passed,
        observed=observed,
        expected=expected(expectation),
        failing_rows=failing_rows,
    )


def _in_range(expectation: Range) -> str:
    low, high = expectation.minimum, expectation.maximum
    if low is None or high is None:
        bound = f"at least {plain(low)}" if low is not None else f"at most {plain(high)}"
        return f"{_list(expectation.columns)} {bound}"
    return f"{_list(expectation.columns)} from {plain(low)} to {plain(high)}"


def _in_proportion(expectation: RowCount) -> str:
    bounds = [f"at least {plain(expectation.at_least)}"] if expectation.at_least else []
    if expectation.at_most is not None:
        bounds.append(f"at most {plain(expectation.at_most)}")
    return f"{' and '.join(bounds)} times the rows of the day before"


def _in_balance(expectation: SumsTie) -> str:
    left, right = (
        f"{' + '.join(side.columns)} of {side.table}"
        for side in (expectation.left, expectation.right)
    )
    by = f" by {', '.join(expectation.left.by)}" if expectation.left.by else ""
    slack = f" within {plain(expectation.tolerance)}" if expectation.tolerance else " exactly"
    return f"{left} equal to {right}{by}{slack}"


_EXPECTED: Mapping[type, Callable[[Any], str]] = {
    NotNull: lambda one: f"a value in every row's {_list(one.columns)}",
    Unique: lambda one: f"no two rows with the same {_list(one.columns)}",
    AcceptedValues: lambda one: f"{_list(one.columns)} one of {_list(one.values)}",
    Range: _in_range,
    RowCount: _in_proportion,
    SumsTie: _in_balance,
}


def _list(parts: Sequence[str]) -> str:
    shown = ", ".join(parts[:_MAX_SHOWN])
    more = len(parts) - _MAX_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def plain(value: Decimal | None) -> str:
    """Format a number without exponent and trailing zeros."""
    text = format(value or Decimal(0), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
