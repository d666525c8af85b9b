"""Whose rows a day of Google's billing export takes."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from convergence.processors.gcp.day_copies import Choice, Holding, choose_rows

MADE = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 11, 20, tzinfo=UTC)
FIRST, SECOND = datetime(2026, 11, 2, tzinfo=UTC), datetime(2026, 11, 3, tzinfo=UTC)


def holding(
    table: str, gross: str, *times: datetime, created: datetime | None = MADE, currency: str = "USD"
) -> Holding:
    return Holding(table, created, set(times), {currency: Decimal(gross)})


@pytest.mark.parametrize(
    ("copied", "exported", "choice"),
    [
        ([], [holding("a", "1", FIRST)], Choice("a")),
        ([], [], Choice(None)),
        # The same table: its rows, and the copied rows of expired partitions.
        ([holding("a", "5", FIRST)], [holding("a", "6", FIRST, SECOND)], Choice("a")),
        (
            [holding("a", "5", FIRST)],
            [holding("a", "-1", SECOND)],
            Choice("a", frozenset({FIRST})),
        ),
        ([holding("a", "5", FIRST, created=None)], [holding("a", "0", FIRST)], Choice("a")),
        # Another table, or one that was made again: only with at least as much.
        ([holding("a", "5", FIRST)], [holding("b", "5", SECOND)], Choice("b")),
        ([holding("a", "5", FIRST)], [holding("b", "4", SECOND)], Choice(None, frozenset({FIRST}))),
        (
            [holding("a", "5", FIRST)],
            [holding("a", "4", SECOND, created=LATER)],
            Choice(None, frozenset({FIRST})),
        ),
        ([holding("a", "5", FIRST)], [holding("a", "6", SECOND, created=LATER)], Choice("a")),
        (
            [holding("a", "5", FIRST)],
            [holding("b", "9", SECOND, currency="EUR")],
            Choice(None, frozenset({FIRST})),
        ),
        # The preferred export has less: the day's own export goes on.
        (
            [holding("a", "5", FIRST)],
            [holding("b", "1", SECOND), holding("a", "6", FIRST, SECOND)],
            Choice("a"),
        ),
        ([holding("a", "5", FIRST)], [], Choice(None, frozenset({FIRST}))),
    ],
)
def test_a_day_takes_the_rows_that_are_not_less(
    copied: list[Holding], exported: list[Holding], choice: Choice
) -> None:
    assert choose_rows(copied, exported) == choice
