"""A new edition for every org: overrides and past costs stay, each org is on its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from convergence.errors import ConvergenceError, PriceBookError
from convergence.processors.context import PipelineInfo, StepResult
from convergence.processors.generic.config import PriceRolloutConfig
from convergence.processors.generic.price_rollout import PriceRollout
from convergence.processors.lib.pricing.price_seed import seed_prices
from convergence.processors.lib.pricing.pricing import price_usage
from convergence.processors.openai.config import CostConfig, SeedCsvConfig
from convergence.runs.eligibility import Eligibility, EligibilityChecker, OrgSelection
from convergence.state import outbox
from support.processor_env import OrgEnv, ProcessorEnv

CONFIG = PriceRolloutConfig(
    provider="openai",
    table="openai_model_pricing",
    schema_file="openai/seed/schemas/openai_model_pricing.json",
    data_file="openai/seed/data/default_pricing.csv",
    cost_table="openai_cost_daily",
)
FACTS = PipelineInfo(pipeline_id="platform", dag_id="platform.rollout", scope="platform")
DAYS = [date(2026, 11, number) for number in (10, 11, 12, 13)]
Rewrite = Callable[[str], str]


def usage_row(day: date, model: str = "gpt-4o", **more: Any) -> dict[str, Any]:
    return {
        "usage_date": day.isoformat(),
        "bucket_start": f"{day}T00:00:00Z",
        "bucket_end": f"{day}T23:59:59Z",
        "endpoint": "completions",
        "shape_version": 2,
        "model": model,
        "batch": False,
        "input_tokens": 1_000_000,
        "output_tokens": 0,
        "num_model_requests": 1,
        **more,
    }


@pytest.fixture
def eligible(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Orgs that may run; who they are is the gate's test."""
    chosen: list[str] = []

    def select(_gate: EligibilityChecker, **asked: Any) -> OrgSelection:
        assert asked["provider"] == "OPENAI"
        return OrgSelection(tuple(Eligibility(org, "ACTIVE") for org in chosen), ())

    monkeypatch.setattr(EligibilityChecker, "select_orgs", select)
    return chosen


@pytest.fixture
def customers(env: ProcessorEnv, eligible: list[str], tmp_path: Path) -> list[OrgEnv]:
    """Two orgs with four priced days; the second prices gpt-4o by a rate of its own."""
    made = [env.new_org(), env.new_org()]
    for number, org in enumerate(made):
        seed_prices(org.context([]), SeedCsvConfig())
        if number:
            override(org)
        rows = [usage_row(day) for day in DAYS[:3]]
        rows += [usage_row(DAYS[3], "gpt-5"), usage_row(DAYS[1], "gpt-99-new")]
        org.publish_usage(rows, DAYS, folder=tmp_path)
        price_usage(org.context(DAYS), CostConfig())
        eligible.append(org.slug)
    return made


def override(org: OrgEnv) -> None:
    org.env.warehouse.client.query_and_wait(
        f"INSERT INTO {org.table('openai_model_pricing')} "
        "(model_id, service_tier, currency, is_override, input_per_million, output_per_million,"
        " effective_from, effective_basis, price_version, updated_at) VALUES "
        "('gpt-4o', 'standard', 'USD', TRUE, 1, 1, DATE '2026-01-01', 'announced', 'own',"
        " TIMESTAMP '2026-01-01')"
    )


def with_book(env: ProcessorEnv, tmp_path: Path, rewrite: Rewrite) -> ProcessorEnv:
    """The same platform with another edition of OpenAI's book."""
    configs = shutil.copytree(env.settings.configs_dir, tmp_path / "configs")
    book = configs / CONFIG.data_file
    book.write_text(rewrite(book.read_text()))
    settings = env.settings.model_copy(update={"configs_dir": configs})
    return replace(env, settings=settings, services=replace(env.services, settings=settings))


def roll_out(env: ProcessorEnv) -> StepResult:
    step = PriceRollout(task_id="load", config={}, pipeline=FACTS)
    return step.run_step(env.platform("rollout__1"), CONFIG, {})


def cheaper(book: str) -> str:
    """An edition in which gpt-4o costs less from 2026-11-12 on."""
    lines = book.splitlines()
    number, line = next(
        (number, line)
        for number, line in enumerate(lines)
        if line.startswith("gpt-4o,standard,") and ",2.5," in line
    )
    header = lines[0].split(",")
    begins, ends = header.index("effective_from"), header.index("effective_to")
    cells = line.split(",")
    assert cells[ends] == ""
    before, after = list(cells), list(cells)
    before[ends] = after[begins] = "2026-11-12"
    after[header.index("input_per_million")] = "2"
    after[header.index("price_version")] = "2026-12-01"
    lines[number : number + 1] = [",".join(before), ",".join(after)]
    return "\n".join(lines) + "\n"


def prices(org: OrgEnv, more: str) -> list[Decimal]:
    rows = org.rows("openai_model_pricing", f"WHERE {more} ORDER BY effective_from")
    return [row["input_per_million"] for row in rows]


def costs(org: OrgEnv) -> list[Decimal]:
    rows = org.rows("openai_cost_daily", "WHERE model = 'gpt-4o' ORDER BY usage_date")
    return [row["effective_cost"] for row in rows]


def test_an_edition_that_everybody_has_changes_nothing(
    env: ProcessorEnv, customers: list[OrgEnv]
) -> None:
    result = roll_out(env)
    assert (result.rows_processed, result.details["orgs"], result.details["orgs_changed"]) == (
        0,
        2,
        0,
    )


def test_defaults_follow_overrides_stay_and_only_days_priced_with_them_are_named(
    env: ProcessorEnv, customers: list[OrgEnv], tmp_path: Path
) -> None:
    first, second = customers
    before = [costs(org) for org in customers]
    result = roll_out(with_book(env, tmp_path, cheaper))
    assert result.details["edition"] == "2026-12-01"
    assert result.details["orgs_changed"] == 2
    assert result.details["days_to_reprice"] == {first.slug: ["2026-11-12"]}
    assert prices(first, "model_id = 'gpt-4o' AND service_tier = 'standard'")[-1] == 2
    assert prices(second, "is_override") == [1]
    assert [costs(org) for org in customers] == before, "pricing again is another pipeline's"
    assert roll_out(with_book(env, tmp_path / "again", cheaper)).details["orgs_changed"] == 0


def test_pricing_again_changes_the_days_that_were_named_and_no_others(
    env: ProcessorEnv, customers: list[OrgEnv], tmp_path: Path
) -> None:
    roll_out(with_book(env, tmp_path, cheaper))
    price_usage(customers[0].context(DAYS, run_id="run_2"), CostConfig())
    assert costs(customers[0]) == [Decimal("2.5"), Decimal("2.5"), Decimal(2)]


def test_a_price_that_comes_for_usage_without_one_names_its_days(
    env: ProcessorEnv, customers: list[OrgEnv], tmp_path: Path
) -> None:
    def newcomer(book: str) -> str:
        header, first, *rest = book.splitlines()
        cells = dict(zip(header.split(","), first.split(","), strict=True))
        cells |= {"model_id": "gpt-99-new", "service_tier": "standard", "effective_to": ""}
        cells |= {"effective_from": "2026-11-01"}
        return "\n".join([header, first, *rest, ",".join(cells.values())]) + "\n"

    result = roll_out(with_book(env, tmp_path, newcomer))
    named = {org.slug: ["2026-11-11"] for org in customers}
    assert result.details["days_to_reprice"] == named


def test_an_org_of_before_the_provider_is_given_its_tables_and_prices(
    env: ProcessorEnv, eligible: list[str]
) -> None:
    org = env.new_org()
    for table in ("openai_model_pricing", "openai_cost_daily"):
        env.warehouse.client.query_and_wait(f"DROP TABLE {org.table(table)}")
    eligible.append(org.slug)
    result = roll_out(env)
    assert result.details["days_to_reprice"] == {}
    written = prices(org, "TRUE")
    assert len(written) == result.rows_processed
    assert len(written) > 200


def test_one_orgs_failure_leaves_the_others_their_edition(
    env: ProcessorEnv, customers: list[OrgEnv], eligible: list[str], tmp_path: Path
) -> None:
    eligible.append("org_without_dataset")
    with pytest.raises(ConvergenceError) as caught:
        roll_out(with_book(env, tmp_path, cheaper))
    told = caught.value.details["orgs"]
    assert isinstance(told, dict)
    assert list(told) == ["org_without_dataset"]
    for org in customers:
        assert prices(org, "NOT is_override AND model_id = 'gpt-4o'")[-1] == 2


def test_what_it_would_change_is_in_the_orgs_audit_log(
    env: ProcessorEnv, customers: list[OrgEnv], tmp_path: Path
) -> None:
    roll_out(with_book(env, tmp_path, cheaper))
    with env.services.store.read() as conn:
        rows = outbox.list_waiting_rows(conn, "org_audit_logs")
    told = [row for row in rows if row["org_slug"] == customers[0].slug]
    assert [row["result"] for row in told] == ["ATTEMPTED", "SUCCEEDED"]
    assert told[0]["target"] == "openai/openai_model_pricing@2026-12-01"
    assert "2026-11-12" in told[0]["details"]


def test_a_wrong_book_reaches_nobody(
    env: ProcessorEnv, customers: list[OrgEnv], tmp_path: Path
) -> None:
    with pytest.raises(PriceBookError):
        roll_out(with_book(env, tmp_path, lambda book: book.replace(",2.5,", ",-2.5,", 1)))
    assert prices(customers[0], "model_id = 'gpt-4o' AND service_tier = 'standard'")[-1] > 0
