"""Every knob of the sandbox, read once from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEFAULT_DATA_DIR = Path("var") / "sandbox"


class SandboxSettingsError(Exception):
    """Raised when a variable of the environment has no sense, naming it."""


@dataclass(frozen=True)
class SandboxSettings:
    """Where the sandbox keeps its data and listens; port 0 takes any that is free.

    Attributes:
        data_dir: `SANDBOX_DATA_DIR`; everything that outlives the process.
        host: `SANDBOX_HOST`; loopback, since nothing here authenticates anyone.
        bigquery_port: `SANDBOX_BIGQUERY_PORT`.
        kms_port: `SANDBOX_KMS_PORT`.
        providers_port: `SANDBOX_PROVIDERS_PORT`.
        aws_port: `SANDBOX_AWS_PORT`.
        smtp_port: `SANDBOX_SMTP_PORT`.
        dml_queue: `SANDBOX_BIGQUERY_DML_QUEUE`; how many mutating statements may wait on one
            table (BigQuery: 20); 0 for any number.
        load_jobs_per_table_day: `SANDBOX_BIGQUERY_LOAD_JOBS_PER_TABLE_DAY` (BigQuery: 1,500);
            0 for any number.
        streaming_buffer: `SANDBOX_BIGQUERY_STREAMING_BUFFER`; 1 rejects DML on tables that rows
            were streamed into, as BigQuery does for a while.
        job_response_seconds: `SANDBOX_BIGQUERY_JOB_ANSWER_SECONDS`; how long jobs.insert waits for
            the job's end before it returns RUNNING.
        bill_effects: `SANDBOX_BILL_EFFECTS`; a TOML file of effects on providers' bills; None: no
            file is read.
    """

    data_dir: Path = DEFAULT_DATA_DIR
    host: str = "127.0.0.1"
    bigquery_port: int = 9050
    kms_port: int = 9060
    providers_port: int = 9070
    aws_port: int = 9080
    smtp_port: int = 9025
    dml_queue: int = 0
    load_jobs_per_table_day: int = 0
    streaming_buffer: bool = False
    job_response_seconds: float = 10.0
    bill_effects: Path | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> SandboxSettings:
        """Return the settings; an empty variable counts as unset.

        Raises:
            SandboxSettingsError: for a value that is no number, or out of range.
        """
        values = os.environ if environ is None else environ
        return cls(
            data_dir=Path(values.get("SANDBOX_DATA_DIR") or DEFAULT_DATA_DIR).resolve(),
            host=values.get("SANDBOX_HOST") or "127.0.0.1",
            bigquery_port=_number(values, "SANDBOX_BIGQUERY_PORT", default=9050, maximum=65535),
            kms_port=_number(values, "SANDBOX_KMS_PORT", default=9060, maximum=65535),
            providers_port=_number(values, "SANDBOX_PROVIDERS_PORT", default=9070, maximum=65535),
            aws_port=_number(values, "SANDBOX_AWS_PORT", default=9080, maximum=65535),
            smtp_port=_number(values, "SANDBOX_SMTP_PORT", default=9025, maximum=65535),
            dml_queue=_number(values, "SANDBOX_BIGQUERY_DML_QUEUE", default=0),
            load_jobs_per_table_day=_number(
                values, "SANDBOX_BIGQUERY_LOAD_JOBS_PER_TABLE_DAY", default=0
            ),
            streaming_buffer=bool(
                _number(values, "SANDBOX_BIGQUERY_STREAMING_BUFFER", default=0, maximum=1)
            ),
            job_response_seconds=float(
                _number(values, "SANDBOX_BIGQUERY_JOB_ANSWER_SECONDS", default=10)
            ),
            bill_effects=_path(values, "SANDBOX_BILL_EFFECTS"),
        )


def _path(values: Mapping[str, str], name: str) -> Path | None:
    text = values.get(name)
    return Path(text).resolve() if text else None


def _number(
    values: Mapping[str, str], name: str, *, default: int, maximum: int = 1_000_000_000
) -> int:
    text = values.get(name) or str(default)
    if not (text.isascii() and text.isdecimal()) or int(text) > maximum:
        raise SandboxSettingsError(f"{name}={text!r} is not a whole number from 0 to {maximum}")
    return int(text)
