"""Public sample files through the AWS loader's reader; sums are also taken with Decimal.

They are not shipped. `CONVERGENCE_PUBLIC_FILES` names a folder with `focus_sample.csv`:
`FOCUS-1.0/focus_sample.csv` of FinOps-Open-Cost-and-Usage-Spec/FOCUS-Sample-Data.
"""

from __future__ import annotations

import csv
import os
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from convergence.errors import ProviderProtocolError
from convergence.processors.aws.normalise import Month, Sums
from support.vendors.aws_lines import write_csv

SAMPLE = Path(os.environ.get("CONVERGENCE_PUBLIC_FILES", "")) / "focus_sample.csv"
SEPTEMBER = Month(date(2024, 9, 1), date(2024, 9, 30))
PLENTY = 10**9
pytestmark = pytest.mark.skipif(
    not SAMPLE.is_file(), reason="CONVERGENCE_PUBLIC_FILES has no focus_sample.csv"
)


def sample_lines() -> list[dict[str, str]]:
    """The sample's lines of AWS."""
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        return [line for line in csv.DictReader(file) if line["ProviderName"] == "AWS"]


def test_a_focus_1_0_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    sums = Sums("focus", SEPTEMBER)
    packed = write_csv(tmp_path / "sample.csv.gz", sample_lines())
    with pytest.raises(ProviderProtocolError):
        sums.add_csv(packed, file="sample", max_bytes=PLENTY)


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("billed_cost", "BilledCost"),
        ("effective_cost", "EffectiveCost"),
        ("list_cost", "ListCost"),
        ("contracted_cost", "ContractedCost"),
    ],
)
def test_the_sample_with_the_columns_of_1_2_adds_up(tmp_path: Path, column: str, name: str) -> None:
    lines = [
        {key: "" if value == "NULL" else value for key, value in line.items()} | {"InvoiceId": ""}
        for line in sample_lines()
        if line["BillingPeriodStart"].startswith("2024-09")
    ]
    sums = Sums("focus", SEPTEMBER)
    sums.add_csv(write_csv(tmp_path / "sample.csv.gz", lines), file="sample", max_bytes=PLENTY)
    rows = list(sums.rows())
    expected = sum((Decimal(line[name]) for line in lines if line[name]), Decimal(0))
    actual = sum((row[column] for row in rows), Decimal(0))
    assert abs(actual - expected) <= Decimal("0.5e-9") * len(rows)
