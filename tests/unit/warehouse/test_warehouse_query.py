from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import requests
from google.api_core import exceptions as google_errors
from google.cloud import bigquery

from convergence.errors import (
    ConfigurationError,
    NotBootstrappedError,
    WarehouseError,
    WarehouseUnavailableError,
)
from convergence.warehouse.bigquery_errors import is_passing, is_worth_a_call
from convergence.warehouse.client import Warehouse
from convergence.warehouse.query import MAX_TRIES, render, run_file
from support.fake_bigquery import FakeBigQuery, warehouse


class Scripted(FakeBigQuery):
    """Answers queries by a script of rows and faults."""

    def __init__(self, *script: list[dict[str, Any]] | Exception) -> None:
        super().__init__()
        self.script = list(script)
        self.configs: list[bigquery.QueryJobConfig] = []
        self.options: list[dict[str, Any]] = []

    def query(self, sql: str, **options: Any) -> Any:
        self.configs.append(options["job_config"])
        self.options.append(options)
        return _Job(self.script.pop(0))


class _Job:
    job_id = "job_1"

    def __init__(self, answer: list[dict[str, Any]] | Exception) -> None:
        self._answer = answer
        self.cancelled = False

    def result(self, **options: Any) -> list[dict[str, Any]]:
        assert options["timeout"]
        assert options["job_retry"] is None
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def cancel(self, **_: object) -> None:
        self.cancelled = True


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    path = tmp_path / "find.sql"
    path.write_text("SELECT 1 FROM `{{ project }}.{{ central }}.{{ table }}` WHERE day = @day")
    return path


def _run(w: Warehouse, sql: Path) -> list[dict[str, Any]]:
    return run_file(w, sql, identifiers={"table": "t"}, params={"day": date(2025, 11, 25)})


def test_identifiers_are_filled_in_and_values_are_not(sql: Path) -> None:
    w = warehouse(FakeBigQuery())
    text = render(w, sql, {"table": "t"})
    assert text == "SELECT 1 FROM `test-project.organizations.t` WHERE day = @day"


@pytest.mark.parametrize("table", ["a`b", "x; DROP TABLE y", "", "a b", "a\n"])
def test_an_identifier_that_is_none_never_reaches_sql(sql: Path, table: str) -> None:
    with pytest.raises(ConfigurationError):
        render(warehouse(FakeBigQuery()), sql, {"table": table})


def test_a_forgotten_identifier_and_a_missing_file_are_named(sql: Path, tmp_path: Path) -> None:
    w = warehouse(FakeBigQuery())
    with pytest.raises(ConfigurationError, match=r"find\.sql"):
        render(w, sql)
    with pytest.raises(ConfigurationError, match="missing"):
        render(w, tmp_path / "none.sql")


def test_a_template_reaches_no_python(tmp_path: Path) -> None:
    path = tmp_path / "evil.sql"
    path.write_text("{{ project.__class__.__mro__ }}")
    with pytest.raises(ConfigurationError):
        render(warehouse(FakeBigQuery()), path)


def test_a_changed_file_is_read_again(sql: Path) -> None:
    w = warehouse(FakeBigQuery())
    render(w, sql, {"table": "t"})
    sql.write_text("SELECT 2")
    assert render(w, sql) == "SELECT 2"


def test_every_query_has_a_price_limit_labels_and_a_location(sql: Path) -> None:
    fake = Scripted([{"a": 1}])
    w = warehouse(fake)
    assert _run(w, sql) == [{"a": 1}]
    (config,) = fake.configs
    assert config.maximum_bytes_billed == w.max_bytes_billed > 0
    assert config.labels["sql"] == "find"
    (options,) = fake.options
    assert options["location"] == "US"
    assert options["timeout"]
    assert options["job_retry"] is None


def _fault(kind: type[Exception], message: str, reason: str | None = None) -> Exception:
    errors = [{"reason": reason, "message": message}] if reason else ()
    return kind(message, errors=errors)  # type: ignore[call-arg]


def test_a_passing_failure_of_a_job_is_run_again(sql: Path) -> None:
    contention = _fault(
        google_errors.BadRequest, "Could not serialize access to table x", "invalidQuery"
    )
    internal = _fault(google_errors.InternalServerError, "oops", "jobInternalError")
    fake = Scripted(contention, internal, [{"a": 1}])
    assert _run(warehouse(fake), sql) == [{"a": 1}]


def test_patience_ends(sql: Path) -> None:
    limited = _fault(google_errors.Forbidden, "too fast", "rateLimitExceeded")
    fake = Scripted(*[limited] * MAX_TRIES)
    with pytest.raises(WarehouseUnavailableError) as caught:
        _run(warehouse(fake), sql)
    assert caught.value.details["reason"] == "rateLimitExceeded"
    assert not fake.script


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (_fault(google_errors.BadRequest, "Syntax error", "invalidQuery"), WarehouseError),
        (_fault(google_errors.Forbidden, "no", "accessDenied"), WarehouseError),
        (_fault(google_errors.BadRequest, "limit", "bytesBilledLimitExceeded"), WarehouseError),
        (_fault(google_errors.Forbidden, "spent", "quotaExceeded"), WarehouseUnavailableError),
        (_fault(google_errors.BadRequest, "cancelled", "stopped"), WarehouseUnavailableError),
        (requests.exceptions.ConnectionError("refused"), WarehouseUnavailableError),
        (TimeoutError(), WarehouseUnavailableError),
        (google_errors.RetryError("slow", cause=None), WarehouseUnavailableError),
        (google_errors.ServiceUnavailable("503"), WarehouseUnavailableError),
        (
            _fault(
                google_errors.NotFound,
                "Not found: Dataset test-project:organizations was not found in location US",
                "notFound",
            ),
            NotBootstrappedError,
        ),
        (
            _fault(
                google_errors.NotFound,
                "Not found: Table test-project:organizations.org_profiles was not found",
                "notFound",
            ),
            NotBootstrappedError,
        ),
        (
            _fault(
                google_errors.NotFound,
                "Not found: Table test-project:organizations_dev.org_profiles was not found",
                "notFound",
            ),
            WarehouseError,
        ),
    ],
)
def test_what_bigquery_answers_is_named_once(
    sql: Path, fault: Exception, kind: type[Exception]
) -> None:
    fake = Scripted(fault)
    with pytest.raises(kind) as caught:
        _run(warehouse(fake), sql)
    assert type(caught.value) is kind
    assert not fake.script
    assert "job_1" in str(caught.value)


def test_a_programming_error_is_not_dressed_up(sql: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        _run(warehouse(Scripted(ZeroDivisionError())), sql)


@pytest.mark.parametrize(
    ("fault", "passing", "worth_a_call"),
    [
        (requests.exceptions.ConnectionError("reset"), True, True),
        (requests.exceptions.ReadTimeout("slow"), True, True),
        (requests.exceptions.SSLError("wrong certificate"), False, False),
        (google_errors.TooManyRequests("429"), True, True),
        (google_errors.BadGateway("502"), True, True),
        (google_errors.BadRequest("400"), False, False),
        (_fault(google_errors.Forbidden, "fast", "rateLimitExceeded"), True, True),
        (_fault(google_errors.Forbidden, "spent for today", "quotaExceeded"), True, False),
        (_fault(google_errors.InternalServerError, "wrong", "invalidQuery"), False, False),
        (ValueError("ours"), False, False),
    ],
)
def test_which_faults_pass(fault: Exception, passing: bool, worth_a_call: bool) -> None:
    assert is_passing(fault) is passing
    assert is_worth_a_call(fault) is worth_a_call
