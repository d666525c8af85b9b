"""Deliveries of AWS exports on S3 as public reports describe them.

A test's name or docstring names its report: `optscale389` is issue 389 of hystax/optscale.
"""

from __future__ import annotations

import csv
import gzip
import io
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from convergence.errors import ConvergenceError, ProviderProtocolError
from convergence.processors.aws import loading, period
from convergence.processors.aws.bucket import Bucket
from convergence.processors.aws.export import File
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
    accepted = customer.config.model_copy(update={"load_without_manifest": True})
    customer.config = accepted
    assert customer.run(run_id="run_2").details["periods_loaded"] == ["2026-11"]


def test_a_period_without_a_manifest_that_changes_while_it_is_read_waits(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    charges = list(lines(customer.seed, NOVEMBER, as_of=TODAY))
    files = exports.period(customer.bucket, customer.export, NOVEMBER, charges)
    data = [(key, body) for key, body in files if "/data/" in key]
    customer.put(*data[0])
    download = Bucket.download

    def deliver_meanwhile(self: Bucket, file: File, path: Path) -> None:
        download(self, file, path)
        for part in data[1:]:
            customer.put(*part)

    with monkeypatch.context() as patched:
        patched.setattr(Bucket, "download", deliver_meanwhile)
        assert customer.run().details["periods_loaded"] == []
    assert customer.rows() == []
    assert customer.run(run_id="run_2").details["periods_loaded"] == ["2026-11"]
    assert abs(billed_cost(customer) - sum(line.billed for line in charges)) < NANO * len(charges)


def test_a_file_with_all_rows_and_no_money_is_refused(customer: Customer) -> None:
    charges = customer.deliver_all()
    customer.run()
    before = billed_cost(customer)
    for key in customer.deliver(NOVEMBER, charges):
        if "/data/" in key:
            customer.put(key, blank_column(customer.read(key), "line_item_unblended_cost"))
    with pytest.raises(ProviderProtocolError, match="No line of the file has an amount"):
        customer.run(run_id="run_2")
    assert billed_cost(customer) == before != 0


def blank_column(body: bytes, name: str) -> bytes:
    """Return a gzip-compressed CSV file with one column empty."""
    rows = list(csv.DictReader(io.StringIO(gzip.decompress(body).decode())))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row | {name: ""} for row in rows)
    return gzip.compress(text.getvalue().encode())


def test_a_period_that_an_older_version_loaded_is_read_again_once(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer.deliver_all()
    with monkeypatch.context() as older:
        older.setattr(loading, "REVISION", loading.REVISION - 1)
        assert customer.run().details["periods_loaded"] == ["2026-11"]
    again = customer.run(run_id="run_2")
    assert again.details["periods_loaded"] == ["2026-11"]
    assert customer.run(run_id="run_3").details["periods_loaded"] == []


def test_resources_and_tags_reach_the_costs(customer: Customer) -> None:
    line = list(lines(customer.seed, NOVEMBER, as_of=TODAY))
    customer.deliver(NOVEMBER, line)
    for key in customer.deliver(NOVEMBER, line):
        if "/data/" in key:
            customer.put(key, add_columns(customer.read(key)))
    customer.run()
    shown = customer.org.rows("aws_cost_source")
    assert {row["ResourceId"] for row in shown} >= {"i-0", "i-1"}
    assert {row["Tags"] for row in shown} == {'{"user_team":"t0"}', '{"user_team":"t1"}'}
    assert {row["x_BillingAccountId"] for row in shown} != {None}
    expected = sum(one.billed for one in line)
    assert abs(sum(row["BilledCost"] for row in shown) - expected) < NANO * len(line)


def add_columns(body: bytes) -> bytes:
    """Return a gzip-compressed CSV file with a resource and a tag on each line."""
    rows = list(csv.DictReader(io.StringIO(gzip.decompress(body).decode())))
    for number, row in enumerate(rows):
        row["line_item_resource_id"] = f"i-{number % 2}"
        row["resource_tags"] = f'{{"user_team":"t{number % 2}"}}'
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return gzip.compress(text.getvalue().encode())
