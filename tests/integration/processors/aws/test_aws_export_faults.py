"""What may be wrong with a customer's export on S3, and what of it stops what."""

from __future__ import annotations

import gzip
import json
import time
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from convergence.errors import (
    ConfigurationError,
    IntegrationInvalidError,
    NotFoundError,
    ProviderProtocolError,
    ProviderRejectedError,
    ProviderUnavailableError,
    RequestError,
    WarehouseUnavailableError,
    WouldShrinkError,
)
from convergence.processors.aws import period
from convergence.processors.aws.bucket import Bucket
from convergence.runs.publisher import Publisher
from convergence_sandbox.aws import exports, keys
from convergence_sandbox.aws.lines import lines
from support.vendors.aws_customer import (
    BOTH,
    DUE,
    NANO,
    NOVEMBER,
    OCTOBER,
    TODAY,
    Customer,
    by_day,
    sums,
)

if TYPE_CHECKING:
    from convergence.runs.ledger import LedgerRow


def test_files_of_others_are_left_alone_and_reported(customer: Customer) -> None:
    customer.deliver_all()
    at = f"exports/{customer.export}/data"
    for key in (
        f"{at}/BILLING_PERIOD=2026-11/README.txt",
        f"{at}/BILLING_PERIOD=2026-11/other-00001.csv.gz",
        f"{at}/BILLING_PERIOD=2026-13/{customer.export}-00001.csv.gz",
        f"{at}/{customer.export}-00001.csv.gz",
    ):
        customer.put(key, b"not an export")
    result = customer.run()
    assert result.details["foreign_files"] == 4
    assert result.details["periods_loaded"] == ["2026-11"]


def test_a_truncated_file_costs_its_own_period_only_and_is_named(customer: Customer) -> None:
    customer.deliver(OCTOBER, list(lines(customer.seed, OCTOBER, as_of=TODAY)))
    keys_ = customer.deliver(NOVEMBER, list(lines(customer.seed, NOVEMBER, as_of=TODAY)))
    whole = customer.s3.get_object(Bucket=customer.bucket, Key=keys_[0])["Body"].read()
    customer.put(keys_[0], whole[:-200])
    customer.put(
        keys_[-1], customer.s3.get_object(Bucket=customer.bucket, Key=keys_[-1])["Body"].read()
    )
    with pytest.raises(ProviderProtocolError, match="truncated") as caught:
        customer.run()
    assert caught.value.details["file"] == f"s3://{customer.bucket}/{keys_[0]}"
    assert caught.value.details["periods_failed"] == ["2026-11"]
    assert {row["usage_date"].month for row in customer.rows()} == {10}
    customer.deliver(NOVEMBER, list(lines(customer.seed, NOVEMBER, as_of=TODAY)))
    assert customer.run(run_id="run_2").details["periods_loaded"] == ["2026-11"]
    assert {row["usage_date"].month for row in customer.rows()} == {10, 11}


def test_a_changed_header_names_the_missing_columns(customer: Customer) -> None:
    (key, *_) = customer.deliver(NOVEMBER, list(lines(customer.seed, NOVEMBER, as_of=TODAY)))
    body = gzip.decompress(customer.s3.get_object(Bucket=customer.bucket, Key=key)["Body"].read())
    renamed = body.replace(b"line_item_unblended_cost", b"unblended_cost", 1)
    customer.put(key, gzip.compress(renamed))
    with pytest.raises(
        ProviderProtocolError, match="lacks the columns line_item_unblended_cost"
    ) as caught:
        customer.run()
    assert str(caught.value.details["file"]).endswith(key)
    assert customer.rows() == []


def test_an_undocumented_column_is_kept_and_counted(customer: Customer) -> None:
    (key, *_) = customer.deliver(
        NOVEMBER, list(lines(customer.seed, NOVEMBER, as_of=TODAY)), files=1
    )
    text = gzip.decompress(customer.s3.get_object(Bucket=customer.bucket, Key=key)["Body"].read())
    header, *records = text.decode().splitlines()
    wider = [f"{header},line_item_novelty", *(f"{one},n{i % 2}" for i, one in enumerate(records))]
    customer.put(key, gzip.compress("\n".join(wider).encode()))
    result = customer.run()
    assert result.details["unknown_columns"] == {"line_item_novelty": len(records)}
    kept = [row["extra"]["line_item_novelty"] for row in customer.rows()]
    assert all(one in ("n0", "n1") or one == ["n0", "n1"] for one in kept)


def test_a_month_that_vanishes_stays_as_it_was_published(customer: Customer) -> None:
    customer.deliver_all(*BOTH)
    customer.run()
    before = customer.rows(
        "WHERE usage_date < '2026-11-01' ORDER BY TO_JSON_STRING(aws_cost_daily)"
    )
    for one in customer.s3.list_objects_v2(
        Bucket=customer.bucket, Prefix=f"exports/{customer.export}/data/BILLING_PERIOD=2026-10"
    )["Contents"]:
        customer.s3.delete_object(Bucket=customer.bucket, Key=one["Key"])
    result = customer.run(run_id="run_2")
    assert result.details["periods_vanished"] == ["2026-10"]
    assert result.details["days_unchanged"] == len(DUE)
    assert len(before) == len(customer.rows("WHERE usage_date < '2026-11-01'")) > 0


def test_a_month_that_shrinks_is_published_only_when_a_person_accepts_it(
    customer: Customer,
) -> None:
    delivered = customer.deliver_all()
    customer.run()
    rows = len(customer.rows())
    few = delivered[: len(delivered) // 10]
    customer.deliver(NOVEMBER, few)
    with pytest.raises(WouldShrinkError, match="states less") as caught:
        customer.run(run_id="run_2")
    assert caught.value.details["period"] == "2026-11"
    assert len(customer.rows()) == rows
    accepted = {"start_date": "2026-11-01", "end_date": "2026-11-30", "reason": "a test"}
    customer.run(run_id="run_3", accept_shrink=accepted)
    found = by_day(customer.rows("WHERE usage_date >= '2026-11-01'"), "billed_cost")
    assert found.keys() == sums(few, lambda line: line.billed).keys()


def test_the_same_files_read_twelve_hours_later_confirm_a_lower_read(customer: Customer) -> None:
    """AWS rewrites no file: the newest delivery is what it says."""
    day = TODAY - timedelta(days=2)
    delivered = customer.deliver_all()
    customer.run()
    rows = customer.rows()
    of_day = [line for line in delivered if line.day == day]
    lost = set(map(id, of_day[: len(of_day) // 2]))
    customer.deliver(NOVEMBER, [line for line in delivered if id(line) not in lost])
    customer.run(run_id="run_2")
    assert len(customer.rows()) == len(rows)
    assert customer.slices()[day].lower_pending is not None
    later = customer.run(run_id="run_3", today=TODAY + timedelta(days=1))
    assert later.details["periods_loaded"] == ["2026-11"]
    assert customer.slices()[day].lower_pending is None
    kept = [line for line in of_day if id(line) not in lost]
    found = by_day(customer.rows(f"WHERE usage_date = '{day}'"), "billed_cost")
    assert found == sums(kept, lambda line: line.billed)


def test_a_delivery_under_way_is_left_to_the_next_run(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(period, "DELIVERY_TIMEOUT", timedelta(days=36_500))
    charges = list(lines(customer.seed, NOVEMBER, as_of=TODAY))
    told = list(exports.period(customer.bucket, customer.export, NOVEMBER, charges))
    for key, body in reversed(told):
        customer.put(key, body)
        time.sleep(1.1 if key.endswith("json") else 0)  # S3 returns whole seconds
    result = customer.run()
    assert result.details["periods_later"] == ["2026-11"]
    assert customer.rows() == []
    customer.put(*told[-1])
    assert customer.run(run_id="run_2").details["periods_loaded"] == ["2026-11"]


def test_a_run_that_dies_midway_is_completed_by_the_next(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    charges = customer.deliver_all()
    publish, calls = Publisher.publish_rows, 0

    def dying(self: Publisher, *args: Any, **kwargs: Any) -> LedgerRow:
        nonlocal calls
        calls += 1
        if calls > 4:
            raise WarehouseUnavailableError("gone")
        return publish(self, *args, **kwargs)

    monkeypatch.setattr(Publisher, "publish_rows", dying)
    with pytest.raises(WarehouseUnavailableError):
        customer.run()
    assert customer.slices("aws_export_files") == {}
    monkeypatch.undo()
    result = customer.run()
    assert result.details["days_unchanged"] == 4
    total = sum(by_day(customer.rows(), "billed_cost").values(), Decimal(0))
    assert abs(total - sum((line.billed for line in charges), Decimal(0))) < NANO * len(charges)


def test_a_file_that_is_rewritten_while_it_is_read_fails_the_try_and_not_for_good(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys_ = customer.deliver(NOVEMBER, list(lines(customer.seed, NOVEMBER, as_of=TODAY)))
    manifest = Bucket.manifest

    def rewriting(self: Bucket, first: date) -> Any:
        told = manifest(self, first)
        customer.put(keys_[0], b"a new file")
        return told

    monkeypatch.setattr(Bucket, "manifest", rewriting)
    with pytest.raises(ProviderUnavailableError, match="rewritten"):
        customer.run()
    assert customer.rows() == []


def test_whose_rights_do_not_reach_is_told_so_for_good(customer: Customer) -> None:
    with pytest.raises(ProviderRejectedError, match="AccessDenied"):
        customer.run(bucket="exports-somebody-else")
    with pytest.raises(ProviderRejectedError, match="NoSuchBucket"):
        customer.run(bucket="there-is-no-such-bucket")
    for credential, told in (
        (keys.credential("x") | {"secret_access_key": "x" * 40}, "SignatureDoesNotMatch"),
        (keys.role("x") | {"external_id": "other"}, "AccessDenied"),
    ):
        customer.org.env.keys[customer.org.slug] = json.dumps(credential)
        with pytest.raises(ProviderRejectedError, match=told) as caught:
            customer.run()
        assert "x" * 40 not in str(caught.value)
    customer.org.env.keys[customer.org.slug] = "{}"
    with pytest.raises(IntegrationInvalidError):
        customer.run()


def test_an_export_that_is_not_named_or_not_there_is_told_so(customer: Customer) -> None:
    with pytest.raises(RequestError, match="export_name"):
        customer.run(export_name=None)
    with pytest.raises(NotFoundError, match=f"s3://{customer.bucket}/exports/cur2-csv/data/"):
        customer.run()
    with pytest.raises(ConfigurationError, match="no such region"):
        customer.run(region="eu-nowhere-9")
    assert customer.run(days=[]).status == "SKIPPED"
