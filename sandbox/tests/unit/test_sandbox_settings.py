from __future__ import annotations

import pytest

from convergence_sandbox.settings import SandboxSettings, SandboxSettingsError


def test_empty_variables_count_as_unset() -> None:
    assert SandboxSettings.from_environment({}) == SandboxSettings.from_environment(
        {"SANDBOX_BIGQUERY_PORT": "", "SANDBOX_DATA_DIR": "", "SANDBOX_HOST": ""}
    )


def test_every_variable_is_read() -> None:
    settings = SandboxSettings.from_environment(
        {
            "SANDBOX_DATA_DIR": "/data",
            "SANDBOX_HOST": "127.0.0.2",
            "SANDBOX_BIGQUERY_PORT": "1",
            "SANDBOX_KMS_PORT": "2",
            "SANDBOX_PROVIDERS_PORT": "3",
            "SANDBOX_AWS_PORT": "4",
            "SANDBOX_SMTP_PORT": "5",
            "SANDBOX_BIGQUERY_DML_QUEUE": "20",
            "SANDBOX_BIGQUERY_LOAD_JOBS_PER_TABLE_DAY": "1500",
            "SANDBOX_BIGQUERY_STREAMING_BUFFER": "1",
            "SANDBOX_BIGQUERY_JOB_ANSWER_SECONDS": "0",
            "SANDBOX_BILL_EFFECTS": "/bill.toml",
        }
    )
    ports = (
        *(settings.bigquery_port, settings.kms_port),
        *(settings.providers_port, settings.aws_port),
    )
    assert (str(settings.data_dir), settings.host, ports) == ("/data", "127.0.0.2", (1, 2, 3, 4))
    assert settings.smtp_port == 5
    assert (settings.dml_queue, settings.load_jobs_per_table_day) == (20, 1500)
    assert (settings.streaming_buffer, settings.job_response_seconds) == (True, 0.0)
    assert str(settings.bill_effects) == "/bill.toml"


@pytest.mark.parametrize("value", ["x", "-1", "65536", "1.5", "\u0663"])
def test_a_port_that_is_none_is_named(value: str) -> None:
    with pytest.raises(SandboxSettingsError, match="SANDBOX_KMS_PORT"):
        SandboxSettings.from_environment({"SANDBOX_KMS_PORT": value})
