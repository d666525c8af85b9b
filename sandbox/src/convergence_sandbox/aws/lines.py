"""A customer's charges, derived from its name, the month and the day of the request.

An open month has a line for every day so far, and of the last two days not everything yet; a closed
one is complete, has its tax and, from the fourth of the next month on, its invoice.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from convergence_sandbox.providers.derive import chance, keyword, number

INVOICED_ON: Final = 4
ZERO: Final = Decimal(0)
PLAN: Final = "arn:aws:savingsplans::123456789012:savingsplan/sandbox"
RESERVATION: Final = "arn:aws:rds:eu-west-1:123456789012:ri:sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One charge. `listed` is its cost at public prices, `effective` with commitments spread."""

    kind: str
    category: str
    day: date
    account: str
    service: str
    name: str
    usage_type: str
    operation: str
    region: str
    unit: str
    quantity: Decimal
    billed: Decimal
    listed: Decimal
    effective: Decimal
    commitment: Decimal = ZERO
    used_commitment: Decimal = ZERO
    invoice: str | None = None
    days: int = 1


# service, name, usage type, operation, region, unit, public price
_USED: Final = tuple(
    tuple(row.split("|"))
    for row in (
        "AmazonEC2|Elastic Compute Cloud|EUW1-BoxUsage:m7g.large|RunInstances|eu-west-1|Hrs|0.0912",
        "AmazonEC2|Elastic Compute Cloud|BoxUsage:c7g.xlarge|RunInstances|us-east-1|Hrs|0.145",
        "AmazonEC2|Elastic Compute Cloud|EUW1-SpotUsage:m7g.large|RunInstances|eu-west-1|Hrs|0.027",
        "AmazonS3|Simple Storage Service|EUW1-TimedStorage-ByteHrs|Storage|eu-west-1|GB-Mo|0.023",
        "AmazonS3|Simple Storage Service|EUW1-Requests-Tier2|GetObject|eu-west-1|Requests|4e-7",
        "AWSLambda|Lambda|EUW1-Lambda-GB-Second|Invoke|eu-west-1|Lambda-GB-Second|0.0000166667",
        "AmazonBedrock|Bedrock|USE1-input-tokens|InvokeModelInference|us-east-1|1K tokens|0.015",
    )
)
_DATABASE: Final = (
    *("AmazonRDS", "Relational Database Service", "EUW1-InstanceUsage:db.r7g.large"),
    *("CreateDBInstance:0014", "eu-west-1", "Hrs", "0.27"),
)


def lines(seed: str, month: date, *, as_of: date) -> Iterator[Line]:
    """Yield the charges of a customer's month as AWS reports them on a day.

    Args:
        seed: the customer.
        month: its first day.
        as_of: the day of the request; its own usage is not reported yet.
    """
    after = month + timedelta(days=monthrange(month.year, month.month)[1])
    closed = as_of >= after
    invoice = None
    if as_of >= after + timedelta(days=INVOICED_ON - 1):
        invoice = keyword("invoice", seed, month, length=10).upper()
    lines_found = _months_lines(seed, month, min(as_of, after), closed=closed, as_of=as_of)
    return (replace(line, invoice=invoice) for line in lines_found)


def _months_lines(
    seed: str, month: date, until: date, *, closed: bool, as_of: date
) -> Iterator[Line]:
    yield from _monthly(seed, month, closed=closed)
    day = month
    while day < until:
        # The last days are not reported in full yet.
        missing = 10 if (as_of - day).days <= 2 else 0
        yield from _daily(seed, day, missing=missing)
        day += timedelta(days=1)


def _daily(seed: str, day: date, *, missing: int) -> Iterator[Line]:
    for account in accounts(seed):
        for index, used in enumerate(_USED):
            if not chance(seed, account, index, percent=80):
                continue
            quantity = Decimal(number(seed, day, account, index, low=1_000, high=90_000))
            yield _usage(day, account, used, quantity * (100 - missing) / 10_000)
    yield from _committed(seed, day)


def _usage(day: date, account: str, used: tuple[str, ...], quantity: Decimal) -> Line:
    service, name, usage_type, operation, region, unit, price = used
    cost = quantity * Decimal(price)
    return Line(
        kind="Usage", category="Usage", day=day, account=account, service=service, name=name,
        usage_type=usage_type, operation=operation, region=region, unit=unit, quantity=quantity,
        billed=cost, listed=cost, effective=cost,
    )  # fmt: skip


def _committed(seed: str, day: date) -> Iterator[Line]:
    """Usage that a savings plan and a reservation cover, and what the plan costs that day."""
    account = accounts(seed)[0]
    hours = Decimal(number(seed, day, "plan", low=100, high=480)) / 10
    covered = _usage(day, account, _USED[1], hours)
    rate = covered.billed * 62 / 100
    yield replace(covered, kind="SavingsPlanCoveredUsage", effective=rate)
    yield replace(
        covered, kind="SavingsPlanNegation", billed=-covered.billed, listed=ZERO, effective=ZERO
    )
    commitment = Decimal("4.8")
    yield replace(
        covered, kind="SavingsPlanRecurringFee", category="Purchase", service="ComputeSavingsPlans",
        name="Savings Plans for Compute usage", usage_type="ComputeSP:1yrNoUpfront",
        operation="", unit="Hrs", quantity=Decimal(24), billed=commitment, listed=commitment,
        commitment=commitment, used_commitment=min(rate, commitment),
        effective=commitment - min(rate, commitment),
    )  # fmt: skip
    reserved = _usage(day, account, _DATABASE, Decimal(24))
    yield replace(reserved, kind="DiscountedUsage", billed=ZERO, effective=Decimal("3.96"))


def _monthly(seed: str, month: date, *, closed: bool) -> Iterator[Line]:
    """The reservation's fee and a credit; of a closed month tax, discount and refund as well."""
    account, days = accounts(seed)[0], monthrange(month.year, month.month)[1]
    fee = Decimal("3.96") * days
    plain = Line(
        kind="RIFee", category="Purchase", day=month, account=account, service="AmazonRDS",
        name="Relational Database Service", usage_type="EUW1-HeavyUsage:db.r7g.large",
        operation="CreateDBInstance:0014", region="eu-west-1", unit="Hrs",
        quantity=Decimal(24 * days), billed=fee, listed=fee, effective=ZERO, days=days,
    )  # fmt: skip
    yield plain
    bare = replace(plain, usage_type="", operation="", unit="", quantity=Decimal(1), region="")
    lines_found = [("Credit", "Credit", "-12.5")]
    if closed:
        lines_found += [
            ("Tax", "Tax", "31.4159265"),
            ("EdpDiscount", "Adjustment", "-7.123456789"),
        ]
        lines_found += [("Refund", "Adjustment", "-2.25")]
    for kind, category, amount in lines_found:
        cost = Decimal(amount)
        yield replace(
            bare, kind=kind, category=category, service="AWSSupportBusiness",
            name="Support (Business)", billed=cost, listed=cost, effective=cost,
        )  # fmt: skip


def accounts(seed: str) -> tuple[str, str]:
    """Return a customer's accounts, of which the first pays."""
    first = number("account", seed, low=10**10, high=9 * 10**10) * 10
    return str(first), str(first + 7)


def payer_of(account: str) -> str:
    """Return the account that pays for an account of the same customer."""
    return f"{account[:-1]}0"
