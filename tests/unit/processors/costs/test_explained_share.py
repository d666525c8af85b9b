"""The explained share of differences."""

from __future__ import annotations

from decimal import Decimal

import pytest

from convergence.processors.costs.reconciliation_summary import compute_share


@pytest.mark.parametrize(
    ("explained", "unexplained", "share"),
    [
        ("0", "0", "1"),
        ("5", "0", "1"),
        ("0", "5", "0"),
        ("2", "1", "0.666666"),
        # It is never rounded up to everything.
        ("1000000000", "0.000000001", "0.999999"),
    ],
)
def test_a_share_of_one_leaves_nothing_unexplained(
    explained: str, unexplained: str, share: str
) -> None:
    assert compute_share(Decimal(explained), Decimal(unexplained)) == Decimal(share)
