"""Default prices follow the price book; what an org maintains itself is never touched."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from convergence.errors import PriceBookError
from convergence.processors.openai.config import SeedCsvConfig
from convergence.processors.openai.seed_csv import SeedCsv
from support.processor_env import USAGE_COST, OrgEnv

BATCH: dict[str, Any] = {"label": "org", "runs": []}


def seed(org: OrgEnv) -> int:
    step = SeedCsv(task_id="load", config={}, pipeline=USAGE_COST, batch=BATCH)
    result = step.run_step(org.context([]), SeedCsvConfig())
    assert result.rows_processed is not None
    return result.rows_processed


def change(org: OrgEnv, sql: str) -> None:
    org.env.warehouse.client.query_and_wait(
        sql.replace("@prices", org.table("openai_model_pricing"))
    )


def prices(org: OrgEnv) -> dict[tuple[Any, ...], dict[str, Any]]:
    names = ("model_id", "service_tier", "effective_from", "is_override")
    return {tuple(row[name] for name in names): row for row in org.rows("openai_model_pricing")}


def test_a_first_seed_writes_the_book_and_a_second_writes_nothing(org: OrgEnv) -> None:
    written = seed(org)
    first = prices(org)
    assert len(first) == written > 200
    assert not any(row["is_override"] for row in first.values())
    assert all(row["source_url"] and row["source_date"] for row in first.values())
    assert seed(org) == 0
    assert prices(org) == first


def test_what_strayed_from_the_book_comes_back_and_own_rates_stay(org: OrgEnv) -> None:
    seed(org)
    book = prices(org)
    change(org, "UPDATE @prices SET input_per_million = 99 WHERE model_id = 'gpt-4o'")
    change(org, "DELETE FROM @prices WHERE model_id = 'o3'")
    change(
        org,
        "INSERT INTO @prices (model_id, service_tier, currency, is_override, input_per_million,"
        " effective_from, effective_basis, price_version, updated_at) VALUES"
        " ('gpt-4o', 'standard', 'USD', TRUE, 1, '2026-01-01', 'announced', 'ours',"
        " '2026-01-01T00:00:00Z'),"
        " ('gpt-gone', 'standard', 'USD', FALSE, 1, '2026-01-01', 'announced', 'old',"
        " '2026-01-01T00:00:00Z')",
    )
    assert seed(org) > 0
    after = prices(org)
    own = {key: row for key, row in after.items() if row["is_override"]}
    assert [key[0] for key in own] == ["gpt-4o"]
    defaults = {key: row for key, row in after.items() if key not in own}
    assert defaults == book


def test_a_wrong_book_changes_nothing(org: OrgEnv, tmp_path: Path) -> None:
    seed(org)
    before = prices(org)
    settings = org.env.settings
    configs = shutil.copytree(settings.configs_dir, tmp_path / "configs")
    book = configs / SeedCsvConfig().data_file
    header, first, second, *_ = book.read_text().splitlines()
    book.write_text("\n".join([header, first, second.replace(",3.75,", ",-3.75,")]) + "\n")
    services = replace(
        org.env.services, settings=settings.model_copy(update={"configs_dir": configs})
    )
    elsewhere = OrgEnv(replace(org.env, services=services), org.slug)
    with pytest.raises(PriceBookError) as caught:
        seed(elsewhere)
    told = str(caught.value.details["errors"])
    assert "default_pricing.csv:3: input_per_million: -3.75 is negative" in told
    assert prices(org) == before
