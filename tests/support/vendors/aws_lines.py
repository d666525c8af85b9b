"""Lines of AWS exports, and the packed CSV file of such lines."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from convergence.processors.aws.columns import REQUIRED


def cur2(**more: object) -> dict[str, object]:
    """A usage line of CUR 2.0 over 1.50 USD, with every column that is required."""
    return {
        **dict.fromkeys(REQUIRED["cur2"], ""),
        "bill_billing_period_start_date": "2026-11-01T00:00:00.000Z",
        "bill_payer_account_id": "111122223333",
        "line_item_currency_code": "USD",
        "line_item_line_item_type": "Usage",
        "line_item_product_code": "AmazonEC2",
        "line_item_unblended_cost": "1.5",
        "line_item_usage_account_id": "111122223333",
        "line_item_usage_amount": "2",
        "line_item_usage_start_date": "2026-11-17T00:00:00.000Z",
        **more,
    }


def focus(**more: object) -> dict[str, object]:
    """A usage line of FOCUS 1.2 over 1.50 USD, with every column that is required."""
    return {
        **dict.fromkeys(REQUIRED["focus"], ""),
        "BilledCost": "1.5",
        "EffectiveCost": "1.5",
        "ListCost": "1.5",
        "ContractedCost": "1.5",
        "BillingAccountId": "1",
        "BillingCurrency": "USD",
        "BillingPeriodStart": "2026-11-01T00:00:00Z",
        "ChargeCategory": "Usage",
        "ChargePeriodStart": "2026-11-17T00:00:00Z",
        "ServiceName": "S3",
        **more,
    }


def write_csv(path: Path, lines: Sequence[Mapping[str, object]]) -> Path:
    """Write lines as a gzip-compressed CSV file with every column that a line has."""
    names = list(dict.fromkeys(column for line in lines for column in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    path.write_bytes(gzip.compress(text.getvalue().encode()))
    return path
