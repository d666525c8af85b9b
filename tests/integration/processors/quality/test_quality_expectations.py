"""Suites of expectations against published days in the stand-in's BigQuery."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from convergence.errors import ConfigurationError, ExpectationsNotMetError
from convergence.processors.quality.config import ExpectationsConfig
from convergence.processors.quality.expectations import Expectations
from convergence.processors.quality.record import RESULTS
from convergence.state import outbox
from convergence.warehouse.names import central_table
from convergence.warehouse.stream import append_rows
from support.processor_env import NOW, USAGE_COST, OrgEnv

DAY = date(2026, 11, 18)
BEFORE = DAY - timedelta(days=1)
TABLE = "openai_usage_daily_raw"
SCHEMAS = {
    TABLE: f"openai/cost/schemas/{TABLE}.json",
    "openai_cost_daily": "openai/cost/schemas/openai_cost_daily.json",
}


def usage_row(day: date, model: str | None, **values: Any) -> dict[str, Any]:
    return {
        "usage_date": day.isoformat(),
        "endpoint": "completions",
        "bucket_start": f"{day}T00:00:00Z",
        "bucket_end": f"{day + timedelta(days=1)}T00:00:00Z",
        "shape_version": 2,
        "model": model,
        "input_tokens": 100,
        "output_tokens": 10,
        **values,
    }


def expectation(kind: str, **says: Any) -> dict[str, Any]:
    own = {} if kind == "sums_tie" else {"table": TABLE}
    return {"id": kind, "severity": "stop", "expect": kind, **own, **says}


class Checked:
    """An org whose days are held against suites of the test's own."""

    def __init__(self, org: OrgEnv, folder: Path) -> None:
        self.org = org
        self._folder = folder

    def publish(
        self, *rows: dict[str, Any], days: tuple[date, ...] = (DAY,), run_id: str = "run_1"
    ) -> None:
        self.org.publish_usage(rows, days, folder=self._folder, run_id=run_id)

    def run(self, *expectations: dict[str, Any], days: tuple[date, ...] = (DAY,)) -> dict[str, Any]:
        suite = {
            "description": "What the test expects",
            "tables": SCHEMAS,
            "expectations": list(expectations),
        }
        configs = self._folder / "configs"
        real = self.org.env.settings.configs_dir
        if not configs.exists():
            configs.mkdir()
            for name in ("openai", "system"):
                (configs / name).symlink_to(real / name)
        (configs / "suite.json").write_text(json.dumps(suite))
        settings = self.org.env.settings.model_copy(update={"configs_dir": configs})
        context = self.org.context(list(days))
        context = replace(context, services=replace(context.services, settings=settings))
        step = Expectations(
            task_id="validate_quality", config={}, pipeline=USAGE_COST, batch={"runs": []}
        )
        return dict(step.run_step(context, ExpectationsConfig(suite="suite.json")).to_dict())

    def results(self) -> list[dict[str, Any]]:
        with self.org.env.services.store.read() as conn:
            rows = outbox.list_waiting_rows(conn, RESULTS)
        return [row for row in rows if row["org_slug"] == self.org.slug]


@pytest.fixture
def checked(org: OrgEnv, tmp_path: Path) -> Checked:
    return Checked(org, tmp_path)


def refusal(checked: Checked, *expectations: dict[str, Any]) -> str:
    with pytest.raises(ExpectationsNotMetError) as caught:
        checked.run(*expectations)
    return str(caught.value)


def test_what_is_met_says_how_much_was_checked(checked: Checked) -> None:
    checked.publish(usage_row(DAY, "gpt-5"), usage_row(DAY, "o3"))
    answer = checked.run(
        expectation("not_null", columns=["model", "endpoint"]),
        expectation("unique", columns=["endpoint", "model"]),
        expectation("range", columns=["input_tokens"], minimum="0", maximum=100),
        expectation("accepted_values", columns=["endpoint"], values=["completions"]),
    )
    assert answer["status"] == "SUCCESS"
    assert answer["quality"] == {
        "suite": "suite",
        "expectations": 4,
        "days": 1,
        "not_met": 0,
        "findings": [],
    }
    assert [row["passed"] for row in checked.results()] == [True] * 4


@pytest.mark.parametrize(
    ("kind", "says", "told"),
    [
        (
            "not_null",
            {"columns": ["model", "endpoint"]},
            "observed model: 1 of 3 rows; expected a value in every row's model, endpoint",
        ),
        (
            "unique",
            {"columns": ["endpoint", "input_tokens"]},
            (
                "observed endpoint, input_tokens: 1 of 3 rows; "
                "expected no two rows with the same endpoint, input_tokens"
            ),
        ),
        (
            "range",
            {"columns": ["input_tokens"], "minimum": 0},
            "observed input_tokens: 1 of 3 rows; expected input_tokens at least 0",
        ),
        (
            "accepted_values",
            {"columns": ["model"], "values": ["gpt-5"]},
            "observed model: 1 of 3 rows; expected model one of gpt-5",
        ),
        (
            "row_count_vs_yesterday",
            {"at_least": "0.5", "at_most": 2},
            (
                "observed 3 rows, 1 the day before; "
                "expected at least 0.5 and at most 2 times the rows of the day before"
            ),
        ),
        (
            "sums_tie",
            {
                "left": {"table": TABLE, "columns": ["input_tokens"], "by": ["model"]},
                "right": {"table": TABLE, "columns": ["output_tokens"], "by": ["model"]},
                "tolerance": "90",
            },
            "observed o3: -5 against 95; expected input_tokens",
        ),
    ],
)
def test_what_is_not_met_names_expectation_table_day_observed_and_expected(
    checked: Checked, kind: str, says: dict[str, Any], told: str
) -> None:
    checked.publish(usage_row(BEFORE, "gpt-5"), days=(BEFORE,), run_id="run_0")
    checked.publish(
        usage_row(DAY, "gpt-5"),
        usage_row(DAY, "o3", input_tokens=-5, output_tokens=95),
        usage_row(DAY, None),
    )
    message = refusal(checked, expectation(kind, **says))
    assert message.startswith(f"{kind} on {TABLE}, 2026-11-18: not met; ")
    assert told in message
    (row,) = checked.results()
    assert (row["passed"], row["severity"], row["slice_day"]) == (False, "stop", "2026-11-18")
    assert row["run_id"] == "run_1"


def test_a_warning_is_told_and_lets_the_run_go_on(checked: Checked) -> None:
    checked.publish(usage_row(DAY, None))
    answer = checked.run(
        {**expectation("not_null", columns=["model"]), "severity": "warn"},
        expectation("unique", columns=["endpoint"]),
    )
    assert answer["status"] == "SUCCESS"
    (finding,) = answer["quality"]["findings"]
    assert finding["severity"] == "warn"
    assert finding["message"] == (
        f"not_null on {TABLE}, 2026-11-18: not met; "
        "observed model: 1 of 1 rows; expected a value in every row's model"
    )


def test_only_rows_that_a_filter_names_count(checked: Checked) -> None:
    checked.publish(usage_row(DAY, "gpt-5", batch=True), usage_row(DAY, None, batch=False))
    rule = expectation("not_null", columns=["model"], where={"batch": "true"})
    assert checked.run(rule)["quality"]["not_met"] == 0
    rule = expectation("not_null", columns=["model"], where={"batch": "false"})
    assert "model: 1 of 1 rows" in refusal(checked, rule)


def test_a_group_that_one_side_lacks_counts_as_nothing(checked: Checked) -> None:
    checked.publish(usage_row(DAY, "gpt-5"), usage_row(DAY, None))
    sides = {
        "left": {"table": TABLE, "columns": ["input_tokens", "output_tokens"], "by": ["model"]},
        "right": {"table": "openai_cost_daily", "columns": ["total_tokens"], "by": ["model"]},
    }
    assert "gpt-5: 110 against 0, none: 110 against 0" in refusal(
        checked, expectation("sums_tie", **sides)
    )


def test_several_days_are_measured_by_as_many_jobs_as_one(checked: Checked) -> None:
    days = tuple(DAY - timedelta(days=back) for back in range(10))
    checked.publish(*(usage_row(day, "gpt-5") for day in days), days=days)
    rules = [
        expectation("not_null", columns=["model", "endpoint"]),
        expectation("row_count_vs_yesterday", at_least=1, at_most=1),
    ]

    def jobs(asked: tuple[date, ...]) -> int:
        client = checked.org.env.warehouse.client
        before = {job.job_id for job in client.list_jobs()}
        checked.run(*rules, days=asked)
        made = [job for job in client.list_jobs() if job.job_id not in before]
        return sum(job.job_type == "query" for job in made)

    assert jobs(days[:1]) == jobs(days)
    # One query more reads the ledger.
    assert jobs(days) == len(rules) + 1


def test_a_day_that_the_run_published_unasked_is_checked_too(checked: Checked) -> None:
    checked.publish(usage_row(DAY, "gpt-5"), usage_row(BEFORE, None), days=(DAY, BEFORE))
    message = refusal(checked, expectation("not_null", columns=["model"]))
    assert "2026-11-17" in message


def test_an_empty_day_is_told_as_such(checked: Checked) -> None:
    answer = checked.run(expectation("not_null", columns=["model"]))
    assert answer["quality"]["not_met"] == 0
    assert checked.results()[0]["observed"] == "no rows"


def test_results_are_rows_of_the_central_table(checked: Checked) -> None:
    checked.publish(usage_row(DAY, "gpt-5"))
    checked.run(expectation("not_null", columns=["model"]))
    (row,) = checked.results()
    env = checked.org.env
    append_rows(env.warehouse, central_table(RESULTS), [("one", row)])
    kept = env.ask(
        f"SELECT * FROM `{env.warehouse.project}.organizations.{RESULTS}` "
        f"WHERE recorded_at >= '2020-01-01' AND org_slug = '{checked.org.slug}'"
    )
    assert [(one["expectation_id"], one["passed"]) for one in kept] == [("not_null", True)]
    assert kept[0]["recorded_at"] == NOW


def test_a_suite_that_is_missing_or_wrong_is_a_configuration_error(checked: Checked) -> None:
    with pytest.raises(ConfigurationError, match=r"expectations\.0"):
        checked.run({"id": "x"})


def test_the_error_survives_its_way_between_processes(checked: Checked) -> None:
    checked.publish(usage_row(DAY, None))
    with pytest.raises(ExpectationsNotMetError) as caught:
        checked.run(expectation("not_null", columns=["model"]))
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  # our own
    assert str(again) == str(caught.value)
    assert again.report == caught.value.report
    assert again.report["quality"]["not_met"] == 1


def test_bounds_are_exact_decimals(checked: Checked) -> None:
    checked.publish(usage_row(DAY, "gpt-5", input_tokens=3))
    rule = expectation("range", columns=["input_tokens"], maximum="2.999999999")
    assert "at most 2.999999999" in refusal(checked, rule)
