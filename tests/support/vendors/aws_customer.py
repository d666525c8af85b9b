"""A customer of AWS in the sandbox: its bucket, its exports, and what they should come to."""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any

from convergence.processors.aws.config import S3DataLoaderConfig
from convergence.processors.aws.loading import load_exports
from convergence.processors.context import PipelineInfo, StepResult
from convergence.providers.aws_session import AccessKey, AwsSession
from convergence_sandbox.aws import exports, keys
from convergence_sandbox.aws.lines import Line, lines
from support.processor_env import OrgEnv

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from convergence.runs.ledger import LedgerRow

FACTS = PipelineInfo(
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

    org: OrgEnv
    export: str = "cur2-csv"
    params: dict[str, Any] = field(default_factory=dict)
    config: S3DataLoaderConfig = CONFIG

    def __post_init__(self) -> None:
        self.seed = self.org.slug
        self.bucket = f"test-{uuid.uuid4().hex[:12]}"
        self.org.env.keys[self.org.slug] = json.dumps(keys.credential(self.seed))
        self.s3: S3Client = AwsSession.with_key(
            AccessKey(keys.key_id(self.seed), keys.secret_of(keys.key_id(self.seed))),
            settings=self.org.env.settings,
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

    def read(self, key: str) -> bytes:
        return self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()

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
        return load_exports(replace(context, params={**self.params, **more}), self.config)

    def rows(self, more: str = "") -> list[dict[str, Any]]:
        return self.org.rows(TABLE, more)

    def slices(self, table: str = TABLE) -> dict[date, LedgerRow]:
        found = self.org.env.services.ledger.read_latest(
            orgs=[self.org.slug], pipeline_id=FACTS.pipeline_id
        )
        return {key.day: row for key, row in found.items() if key.table == table}


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
