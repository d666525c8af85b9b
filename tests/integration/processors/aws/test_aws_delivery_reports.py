"""Deliveries of AWS exports on S3 as public reports describe them.

A test's name or docstring names its report: `optscale389` is issue 389 of hystax/optscale.
"""

from __future__ import annotations

import gzip
from datetime import date, timedelta
from decimal import Decimal

import pytest

from convergence.errors import ConvergenceError
from convergence.processors.aws import period
from convergence_sandbox.aws import exports
from convergence_sandbox.aws.lines import lines
from support.vendors.aws_customer import BOTH, DUE, NANO, NOVEMBER, TODAY, Customer


def billed_cost(customer: Customer) -> Decimal:
    return sum((row["billed_cost"] for row in customer.rows()), Decimal(0))


def test_data_without_a_manifest_under_an_account_prefix_is_loaded(customer: Customer) -> None:
    """An aggregation bucket of Cloud Intelligence Dashboards replicates data alone."""
    charges = list(lines(customer.seed, NOVEMBER, as_of=TODAY))
    for key, body in exports.period(customer.bucket, customer.export, NOVEMBER, charges):
        if "/data/" in key:
            customer.put(key.replace("exports/", "cur2/111122223333/"), body)
    customer.params["prefix"] = "cur2/111122223333"
    customer.run()
    expected = sum(line.billed for line in charges)
    assert abs(billed_cost(customer) - expected) < NANO * len(charges)


def test_a_part_that_the_manifest_no_longer_names_is_left_out(customer: Customer) -> None:
    charges = list(lines(customer.seed, NOVEMBER, as_of=TODAY))
    customer.deliver(NOVEMBER, charges, files=3)
    customer.deliver(NOVEMBER, charges, files=2)
    customer.run()
    expected = sum(line.billed for line in charges)
    assert abs(billed_cost(customer) - expected) < NANO * len(charges)


def test_finopsstack3_a_legacy_report_is_refused(customer: Customer) -> None:
    """Its columns are `lineItem/UnblendedCost` and the like."""
    folder = f"exports/{customer.export}/data/BILLING_PERIOD=2026-11"
    text = b"identity/LineItemId,lineItem/UnblendedCost\nx,1\n"
    customer.put(f"{folder}/{customer.export}-00001.csv.gz", gzip.compress(text))
    with pytest.raises(ConvergenceError):
        customer.run()


def test_optscale389_every_period_is_loaded_not_only_the_latest(customer: Customer) -> None:
    customer.deliver_all(date(2026, 9, 1), *BOTH)
    result = customer.run([date(2026, 9, 15), *DUE])
    assert result.details["periods_loaded"] == ["2026-09", "2026-10", "2026-11"]


@pytest.mark.xfail(
    reason="A period without a manifest is loaded while half of it has arrived",
    raises=AssertionError,
)
def test_a_period_without_a_manifest_waits_until_its_listing_is_stable(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bucket is replicated file by file; one of two parts has just arrived."""
    monkeypatch.setattr(period, "DELIVERY_TIMEOUT", timedelta(hours=2))
    charges = list(lines(customer.seed, NOVEMBER, as_of=TODAY))
    files = exports.period(customer.bucket, customer.export, NOVEMBER, charges)
    first = next((key, body) for key, body in files if "/data/" in key)
    customer.put(*first)
    assert customer.run().details["periods_loaded"] == []
