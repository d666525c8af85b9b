"""A customer's charges as AWS exports them: CUR 2.0 as Parquet and CSV, FOCUS 1.2 as CSV.

{bucket}/exports/{export}/data/BILLING_PERIOD=2026-11/{export}-00001.snappy.parquet
{bucket}/exports/{export}/metadata/BILLING_PERIOD=2026-11/{export}-Manifest.json
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from convergence_sandbox.aws.lines import PLAN, RESERVATION, Line, lines, payer_of

PREFIX: Final = "exports"
EXPORTS: Final[Mapping[str, str]] = {
    "cur2-parquet": "cur2",
    "cur2-csv": "cur2",
    "focus-csv": "focus",
}
"""Export → the kind of its table."""
MONTHS: Final = 3
FILES: Final = 2
"""Into how many files a period is cut."""
Row = dict[str, "str | Decimal | None"]
_ISSUER: Final = "Amazon Web Services EMEA SARL"
_SELLER: Final = "Amazon Web Services, Inc."


def months(as_of: date) -> list[date]:
    """Return the months that are exported on a day, oldest first."""
    found = [(as_of - timedelta(days=1)).replace(day=1)]
    while len(found) < MONTHS:
        found.insert(0, (found[0] - timedelta(days=1)).replace(day=1))
    return found


def objects(bucket: str, seed: str, *, as_of: date) -> Iterator[tuple[str, bytes]]:
    """Key and content of everything in a customer's bucket, manifests last.

    Args:
        bucket: its name.
        seed: the customer.
        as_of: the day of the request; the last day reported is the one before.
    """
    for export in EXPORTS:
        for month in months(as_of):
            yield from period(bucket, export, month, list(lines(seed, month, as_of=as_of)))


def period(
    bucket: str, export: str, month: date, charges: Sequence[Line], *, files: int = FILES
) -> Iterator[tuple[str, bytes]]:
    """Key and content of one period's files."""
    row = _WRITTEN[EXPORTS[export]]
    rows = [row(line, month, number) for number, line in enumerate(charges)]
    pack, ending = (_parquet, "snappy.parquet") if "parquet" in export else (_csv_gz, "csv.gz")
    partition = f"BILLING_PERIOD={month:%Y-%m}"
    keys = []
    for number in range(files):
        keys.append(f"{PREFIX}/{export}/data/{partition}/{export}-{number + 1:05d}.{ending}")
        yield keys[-1], pack(rows[number::files], list(rows[0]))
    payload = {"exportName": export, "dataFiles": [f"s3://{bucket}/{key}" for key in keys]}
    yield (
        f"{PREFIX}/{export}/metadata/{partition}/{export}-Manifest.json",
        json.dumps(payload).encode(),
    )


def _span(line: Line) -> tuple[str, str]:
    end = line.day + timedelta(days=line.days)
    return f"{line.day}T00:00:00.000Z", f"{end}T00:00:00.000Z"


def _ends(month: date) -> tuple[str, str]:
    after = (month + timedelta(days=32)).replace(day=1)
    return f"{month}T00:00:00.000Z", f"{after}T00:00:00.000Z"


def _cur2(one: Line, month: date, number: int) -> Row:
    """Return a line of CUR 2.0."""
    (start, end), (begins, ends) = _span(one), _ends(month)
    covered = one.kind == "SavingsPlanCoveredUsage"
    listed = one.listed if one.category == "Usage" and one.kind != "SavingsPlanNegation" else None
    return {
        "bill_bill_type": "Refund" if one.kind == "Refund" else "Anniversary",
        "bill_billing_period_end_date": ends,
        "bill_billing_period_start_date": begins,
        "bill_invoice_id": one.invoice,
        "bill_invoicing_entity": _ISSUER,
        "bill_payer_account_id": payer_of(one.account),
        "identity_line_item_id": f"{one.kind}-{number}",
        "line_item_currency_code": "USD",
        "line_item_legal_entity": _SELLER,
        "line_item_line_item_description": f'{one.name}, "{one.usage_type or one.kind}"',
        "line_item_line_item_type": one.kind,
        "line_item_operation": one.operation or None,
        "line_item_product_code": one.service,
        "line_item_unblended_cost": one.billed,
        "line_item_usage_account_id": one.account,
        "line_item_usage_account_name": f"account {one.account[-3:]}",
        "line_item_usage_amount": one.quantity,
        "line_item_usage_end_date": end,
        "line_item_usage_start_date": start,
        "line_item_usage_type": one.usage_type or None,
        "pricing_public_on_demand_cost": listed,
        "pricing_term": "Spot" if "SpotUsage" in one.usage_type else "OnDemand",
        "pricing_unit": one.unit or None,
        "product_region_code": one.region or None,
        "reservation_effective_cost": one.effective if one.kind == "DiscountedUsage" else None,
        "reservation_reservation_a_r_n": RESERVATION if one.service == "AmazonRDS" else None,
        "reservation_unused_amortized_upfront_fee_for_billing_period": None,
        "reservation_unused_recurring_fee": Decimal(0) if one.kind == "RIFee" else None,
        "savings_plan_savings_plan_a_r_n": PLAN if covered else None,
        "savings_plan_savings_plan_effective_cost": one.effective if covered else None,
        "savings_plan_total_commitment_to_date": one.commitment or None,
        "savings_plan_used_commitment": one.used_commitment or None,
    }


def _focus(one: Line, month: date, number: int) -> Row:
    """Return a line of FOCUS 1.2."""
    del number
    (start, end), (begins, ends) = _span(one), _ends(month)
    committed = one.kind in {"DiscountedUsage", "SavingsPlanCoveredUsage"}
    return {
        "BilledCost": one.billed,
        "BillingAccountId": payer_of(one.account),
        "BillingAccountName": None,
        "BillingCurrency": "USD",
        "BillingPeriodEnd": ends,
        "BillingPeriodStart": begins,
        "ChargeCategory": one.category,
        "ChargeClass": "Correction" if one.kind == "Refund" else None,
        "ChargeDescription": f'{one.name}, "{one.usage_type or one.kind}"',
        "ChargeFrequency": "Usage-Based" if one.category == "Usage" else "One-Time",
        "ChargePeriodEnd": end,
        "ChargePeriodStart": start,
        "ConsumedQuantity": one.quantity if one.category == "Usage" else None,
        "ConsumedUnit": one.unit or None,
        "ContractedCost": one.listed,
        "EffectiveCost": one.effective,
        "InvoiceId": one.invoice,
        "InvoiceIssuerName": _ISSUER,
        "ListCost": one.listed,
        "PricingCategory": "Committed" if committed else "Standard",
        "PricingUnit": one.unit or None,
        "ProviderName": "AWS",
        "PublisherName": "AWS",
        "RegionId": one.region or None,
        "ServiceCategory": "Compute" if one.service in {"AmazonEC2", "AWSLambda"} else "Other",
        "ServiceName": one.name,
        "SkuId": None,
        "SkuMeter": one.usage_type or None,
        "SubAccountId": one.account,
        "SubAccountName": f"account {one.account[-3:]}",
        "x_Discounts": None,
        "x_Operation": one.operation or None,
        "x_ServiceCode": one.service,
    }


_WRITTEN: Final[Mapping[str, Callable[[Line, date, int], Row]]] = {
    "cur2": _cur2,
    "focus": _focus,
}


def _csv_gz(rows: Sequence[Row], columns: Sequence[str]) -> bytes:
    """CSV as AWS writes it: small amounts may have an exponent."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([["" if v is None else str(v) for v in row.values()] for row in rows])
    return gzip.compress(text.getvalue().encode(), 1, mtime=0)


def _parquet(rows: Sequence[Row], columns: Sequence[str]) -> bytes:
    """Parquet as AWS writes it: amounts are doubles."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    amounts = ("_cost", "_amount", "_fee", "_period", "_to_date", "used_commitment")
    arrays = {}
    for name in columns:
        is_amount = name.endswith(amounts)
        kind = pa.float64() if is_amount else pa.string()
        values = [row[name] for row in rows]
        payload = [float(v) if is_amount and v is not None else v for v in values]
        arrays[name] = pa.array(payload, kind)
    sink = io.BytesIO()
    pq.write_table(pa.table(arrays), sink, compression="snappy")
    return sink.getvalue()
