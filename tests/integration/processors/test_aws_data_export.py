"""AWS's exports through real boto3 from moto's S3 to the org's table, against independent sums."""

from __future__ import annotations

import gzip
import json
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any

import pytest

from convergence.errors import (
    ConfigurationError,
    IntegrationInvalidError,
    NotFoundError,
    ProviderProtocolError,
    ProviderRefusedError,
    ProviderUnavailableError,
    RequestError,
    WarehouseUnavailableError,
)
from convergence.processors.aws import period
from convergence.processors.aws.bucket import Bucket
from convergence.processors.aws.config import S3DataLoaderConfig
from convergence.processors.aws.loading import load_exports
from convergence.processors.context import PipelineFacts, StepResult
from convergence.providers.aws_session import AccessKey, AwsSession
from convergence.runs.publisher import Publisher
from convergence.runs.slices import Finality
from processors_world import OrgWorld
from sandbox.aws import exports, keys
from sandbox.aws.lines import Line, lines

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from convergence.runs.ledger import LedgerRow

FACTS = PipelineFacts(
    pipeline_id="aws-cost-data-export",
    dag_id="aws.cost.data_export",
    provider="aws",
    settle_days=45,
    tables=("aws_cost_daily",),
)
CONFIG = S3DataLoaderConfig(source_view="aws/cost/views/aws_cost_source.sql")
TODAY = date(2026, 11, 8)
OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)
BOTH = (OCTOBER, NOVEMBER)
DUE = [TODAY - timedelta(days=n) for n in range(1, 31)]
NANO = Decimal("1e-9")
TABLE = "aws_cost_daily"


@dataclass
class Customer:
    """An org whose exports a test puts into its bucket."""

    org: OrgWorld
    export: str = "cur2-csv"
    params: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.seed = self.org.slug
        self.bucket = f"test-{uuid.uuid4().hex[:12]}"
        self.org.world.keys[self.org.slug] = json.dumps(keys.credential(self.seed))
        self.s3: S3Client = AwsSession.with_key(
            AccessKey(keys.key_id(self.seed), keys.secret_of(keys.key_id(self.seed))),
            settings=self.org.world.settings,
        ).s3()
        self.s3.create_bucket(Bucket=self.bucket)
        self.params = {
            "bucket": self.bucket,
            "prefix": exports.PREFIX,
            "export_name": self.export,
            "kind": exports.EXPORTS[self.export],
        }

    def put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)

    def deliver(self, month: date, charges: Sequence[Line], *, files: int = 2) -> list[str]:
        """Put a period's files as AWS overwrites them; their keys, the manifest's last."""
        told = list(exports.period(self.bucket, self.export, month, charges, files=files))
        for key, body in told:
            self.put(key, body)
        return [key for key, _ in told]

    def deliver_all(self, *months: date) -> list[Line]:
        """Put what the customer was charged in months, as of today."""
        told = {
            month: list(lines(self.seed, month, as_of=TODAY)) for month in months or (NOVEMBER,)
        }
        for month, charges in told.items():
            self.deliver(month, charges)
        return [line for charges in told.values() for line in charges]

    def run(
        self, days: Sequence[date] = DUE, *, run_id: str = "run_1", today: date = TODAY, **more: Any
    ) -> StepResult:
        now = datetime(today.year, today.month, today.day, 12, tzinfo=UTC)
        context = self.org.at(now).context(days, run_id=run_id, step="load", pipeline=FACTS)
        return load_exports(replace(context, params={**self.params, **more}), CONFIG)

    def rows(self, more: str = "") -> list[dict[str, Any]]:
        return self.org.rows(TABLE, more)

    def slices(self, table: str = TABLE) -> dict[date, LedgerRow]:
        found = self.org.world.services.ledger.latest(
            orgs=[self.org.slug], pipeline_id=FACTS.pipeline_id
        )
        return {key.day: row for key, row in found.items() if key.table == table}


@pytest.fixture(autouse=True)
def _deliveries_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3's clock is the machine's, whatever day the tests live on."""
    monkeypatch.setattr(period, "DELIVERY", timedelta(days=-36_500))


@pytest.fixture
def customer(org: OrgWorld) -> Customer:
    return Customer(org)


def sums(charges: Iterable[Line], amount: Callable[[Line], Decimal]) -> dict[date, Decimal]:
    """By day; exact, since the stand-in's amounts have fewer decimals than are kept."""
    told: dict[date, Decimal] = defaultdict(Decimal)
    for line in charges:
        told[line.day] += amount(line)
    return {day: total.quantize(NANO, ROUND_HALF_UP) for day, total in told.items()}


def by_day(rows: Iterable[dict[str, Any]], column: str) -> dict[date, Decimal]:
    told: dict[date, Decimal] = defaultdict(Decimal)
    for row in rows:
        told[row["usage_date"]] += row[column]
    return dict(told)


@pytest.mark.parametrize("export", list(exports.EXPORTS))
def test_every_form_of_export_comes_to_what_was_charged(org: OrgWorld, export: str) -> None:
    one = Customer(org, export)
    charges = one.deliver_all(*BOTH)
    result = one.run()
    assert result.facts["periods_loaded"] == ["2026-10", "2026-11"]
    assert result.facts["lines_read"] == len(charges)
    assert result.facts["days_published"] == 38
    rows = one.rows()
    # Each row is rounded once, so a day's total may differ by half of the last digit per row.
    near = NANO / 2 * len(rows)
    for column, amount in (
        ("billed_cost", lambda line: line.billed),
        ("effective_cost", lambda line: line.effective),
        ("list_cost", lambda line: line.listed),
    ):
        expected, found = sums(charges, amount), by_day(rows, column)
        assert expected.keys() == found.keys()
        for day, total in expected.items():
            assert abs(found[day] - total) <= near, (column, day)
    assert {row["charge_category"] for row in rows} == {
        *("Usage", "Purchase", "Tax", "Credit", "Adjustment")
    }
    assert sum(row["line_count"] for row in rows) == len(charges)


def test_the_bill_is_in_cost_daily_and_only_there_on_the_billed_basis(customer: Customer) -> None:
    charges = customer.deliver_all(*BOTH)
    customer.run()
    shown = customer.org.rows("cost_daily", "WHERE x_Provider = 'aws'")
    assert {(row["x_Basis"], row["BillingCurrency"]) for row in shown} == {("billed", "USD")}
    total = sum((line.billed for line in charges), Decimal(0))
    assert abs(sum(row["BilledCost"] for row in shown) - total) < NANO * len(charges)
    finalities = {row["BillingPeriodStart"].month: row["x_Finality"] for row in shown}
    assert finalities == {10: "FINAL", 11: "SETTLING"}


def test_an_invoice_makes_a_period_final_whatever_the_calendar_says(customer: Customer) -> None:
    customer.deliver_all(*BOTH)
    assert customer.run().facts["periods_invoiced"] == ["2026-10"]
    told = {day: row.finality for day, row in customer.slices().items()}
    assert {told[day] for day in told if day < NOVEMBER} == {Finality.FINAL}
    assert {told[day] for day in told if day >= NOVEMBER} == {Finality.SETTLING}
    # Looked at again, a final day stays final, though the calendar would have it settle.
    customer.run([date(2026, 10, 30)], run_id="run_2")
    assert customer.slices()[date(2026, 10, 30)].finality is Finality.FINAL


def test_a_second_run_reads_no_file_and_confirms_what_is_due(customer: Customer) -> None:
    customer.deliver_all()
    customer.run()
    before = {day: row.job_id for day, row in customer.slices().items()}
    again = customer.run(run_id="run_2", today=TODAY)
    assert again.facts["periods_loaded"] == []
    assert (again.facts["days_published"], again.facts["days_unchanged"]) == (0, 7)
    assert again.facts["days_without_export"] == len(DUE) - 7
    assert {day: row.job_id for day, row in customer.slices().items()} == before


def test_a_rewritten_month_is_loaded_whole_and_its_changed_days_published(
    customer: Customer,
) -> None:
    customer.deliver_all()
    customer.run()
    tomorrow = TODAY + timedelta(days=1)
    november = list(lines(customer.seed, NOVEMBER, as_of=tomorrow))
    customer.deliver(NOVEMBER, november)
    result = customer.run([TODAY], run_id="run_2", today=tomorrow)
    assert result.facts["periods_loaded"] == ["2026-11"]
    # The day that was not told in full, and the new one.
    assert result.facts["days_published"] == 2
    assert result.facts["days_unchanged"] == 6
    found = by_day(customer.rows("WHERE usage_date >= '2026-11-01'"), "billed_cost")
    for day, total in sums(november, lambda line: line.billed).items():
        assert abs(found[day] - total) < NANO * 40


def test_a_final_month_that_changes_is_restated_with_both_totals(customer: Customer) -> None:
    told = customer.deliver_all(OCTOBER)
    customer.run()
    changed = date(2026, 10, 5)
    before = customer.slices()[changed]
    october = [
        replace(line, billed=line.billed + 1) if line.day == changed else line for line in told
    ]
    customer.deliver(OCTOBER, october)
    # A day that is final is not due: another one brings the run.
    result = customer.run([TODAY - timedelta(days=1)], run_id="run_2")
    assert result.facts["periods_loaded"] == ["2026-10"]
    after = customer.slices()
    assert {day for day, row in after.items() if row.finality is Finality.RESTATED} == {changed}
    (old,), (new,) = before.totals, after[changed].totals
    count = sum(line.day == changed for line in told)
    assert new.amount - old.amount == count


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
    assert result.facts["foreign_files"] == 4
    assert result.facts["periods_loaded"] == ["2026-11"]


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
    assert caught.value.facts["file"] == f"s3://{customer.bucket}/{keys_[0]}"
    assert caught.value.facts["periods_failed"] == ["2026-11"]
    assert {row["usage_date"].month for row in customer.rows()} == {10}
    customer.deliver(NOVEMBER, list(lines(customer.seed, NOVEMBER, as_of=TODAY)))
    assert customer.run(run_id="run_2").facts["periods_loaded"] == ["2026-11"]
    assert {row["usage_date"].month for row in customer.rows()} == {10, 11}


def test_a_changed_header_names_the_missing_columns(customer: Customer) -> None:
    (key, *_) = customer.deliver(NOVEMBER, list(lines(customer.seed, NOVEMBER, as_of=TODAY)))
    body = gzip.decompress(customer.s3.get_object(Bucket=customer.bucket, Key=key)["Body"].read())
    renamed = body.replace(b"line_item_unblended_cost", b"unblended_cost", 1)
    customer.put(key, gzip.compress(renamed))
    with pytest.raises(ProviderProtocolError, match="missing: line_item_unblended_cost") as caught:
        customer.run()
    assert str(caught.value.facts["file"]).endswith(key)
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
    assert result.facts["unknown_columns"] == {"line_item_novelty": len(records)}
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
    assert result.facts["periods_vanished"] == ["2026-10"]
    assert result.facts["days_unchanged"] == len(DUE)
    assert len(before) == len(customer.rows("WHERE usage_date < '2026-11-01'")) > 0


def test_a_month_that_shrinks_beyond_belief_is_published_only_where_that_was_asked_for(
    customer: Customer,
) -> None:
    told = customer.deliver_all()
    customer.run()
    rows = len(customer.rows())
    few = told[: len(told) // 10]
    customer.deliver(NOVEMBER, few)
    with pytest.raises(ProviderProtocolError, match="more than half") as caught:
        customer.run(run_id="run_2")
    assert caught.value.facts["period"] == "2026-11"
    assert len(customer.rows()) == rows
    customer.run(run_id="run_3", accept_shrink=True)
    found = by_day(customer.rows("WHERE usage_date >= '2026-11-01'"), "billed_cost")
    assert found.keys() == sums(few, lambda line: line.billed).keys()


def test_of_deliveries_that_are_kept_the_one_in_the_manifest_counts(customer: Customer) -> None:
    charges = list(lines(customer.seed, NOVEMBER, as_of=TODAY))
    doubled = [replace(line, billed=line.billed * 2) for line in charges]
    at = f"exports/{customer.export}/data/BILLING_PERIOD=2026-11"
    for execution, told in (("20261120T000000Z-a", charges), ("20261121T000000Z-b", doubled)):
        (_, body), *_ = exports.period(customer.bucket, customer.export, NOVEMBER, told, files=1)
        customer.put(f"{at}/{execution}/{customer.export}-00001.csv.gz", body)
    newest = f"{at}/20261121T000000Z-b/{customer.export}-00001.csv.gz"
    customer.put(
        f"exports/{customer.export}/metadata/BILLING_PERIOD=2026-11/{customer.export}-Manifest.json",
        json.dumps({"dataFiles": [f"s3://{customer.bucket}/{newest}"]}).encode(),
    )
    assert customer.run().facts["lines_read"] == len(charges)
    total = sum(by_day(customer.rows(), "billed_cost").values(), Decimal(0))
    assert abs(total - sum((line.billed for line in doubled), Decimal(0))) < NANO * len(charges)


def test_a_delivery_under_way_is_left_to_the_next_run(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(period, "DELIVERY", timedelta(days=36_500))
    charges = list(lines(customer.seed, NOVEMBER, as_of=TODAY))
    told = list(exports.period(customer.bucket, customer.export, NOVEMBER, charges))
    for key, body in reversed(told):
        customer.put(key, body)
        time.sleep(1.1 if key.endswith("json") else 0)  # S3 tells whole seconds
    result = customer.run()
    assert result.facts["periods_later"] == ["2026-11"]
    assert customer.rows() == []
    customer.put(*told[-1])
    assert customer.run(run_id="run_2").facts["periods_loaded"] == ["2026-11"]


def test_a_partition_that_somebody_else_wrote_is_loaded_again(customer: Customer) -> None:
    customer.deliver_all()
    customer.run()
    day = date(2026, 11, 5)
    total = by_day(customer.rows(), "billed_cost")[day]
    customer.org.world.ask(f"DELETE FROM {customer.org.table(TABLE)} WHERE usage_date = '{day}'")
    assert customer.run(run_id="run_2").facts["periods_loaded"] == ["2026-11"]
    assert by_day(customer.rows(), "billed_cost")[day] == total


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
    assert result.facts["days_unchanged"] == 4
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


def test_a_role_reads_as_a_key_does(customer: Customer) -> None:
    customer.deliver_all()
    customer.org.world.keys[customer.org.slug] = json.dumps(keys.role(customer.seed))
    assert customer.run().facts["periods_loaded"] == ["2026-11"]


def test_whose_rights_do_not_reach_is_told_so_for_good(customer: Customer) -> None:
    with pytest.raises(ProviderRefusedError, match="AccessDenied"):
        customer.run(bucket="exports-somebody-else")
    with pytest.raises(ProviderRefusedError, match="NoSuchBucket"):
        customer.run(bucket="there-is-no-such-bucket")
    for credential, told in (
        (keys.credential("x") | {"secret_access_key": "x" * 40}, "SignatureDoesNotMatch"),
        (keys.role("x") | {"external_id": "other"}, "AccessDenied"),
    ):
        customer.org.world.keys[customer.org.slug] = json.dumps(credential)
        with pytest.raises(ProviderRefusedError, match=told) as caught:
            customer.run()
        assert "x" * 40 not in str(caught.value)
    customer.org.world.keys[customer.org.slug] = "{}"
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
