"""Responses with values that nothing may hold: rejected by field, in quarantine, not published."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from convergence.errors import ProviderProtocolError
from support.processor_env import OrgEnv, ProcessorEnv
from support.vendors.llm_responses import (
    completion,
    message_usage,
    new_openai_org,
    openai_page,
    openai_pages,
    price_anthropic,
    run_openai_usage,
)

MODEL = "gpt-4o-2024-08-06"
KEY = "sk-admin-x"


def reject_completion(
    env: ProcessorEnv, folder: Path, *, deep: int = 0, **fields: Any
) -> tuple[OrgEnv, ProviderProtocolError]:
    """Run the pipeline on one row of usage with these fields."""
    org = new_openai_org(env)
    org.env.keys[org.slug] = KEY
    pages = openai_pages(folder, completions=[completion(MODEL, **fields)])
    if deep:
        (path,) = pages["/organization/usage/completions"]
        nested = '{"n":' * deep + "1" + "}" * deep
        path.write_text(path.read_text().replace('"DEEP"', nested))
    with pytest.raises(ProviderProtocolError) as caught:
        run_openai_usage(org, pages)
    assert org.rows("openai_usage_daily_raw", "WHERE usage_date > '2000-01-01'") == []
    return org, caught.value


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"input_tokens": -1}, "input_tokens"),
        ({"num_model_requests": -5}, "num_model_requests"),
        ({"output_tokens": 2**63}, "output_tokens"),
        ({"x_new": 2**70}, "data.results.x_new"),
        ({"project_id": "proj\0x"}, "data.results.project_id"),
        ({"x_new": "DEEP", "deep": 900}, "data.results.x_new.n"),
        ({"start_time": 1}, "start_time"),
        ({"api_key_id": f"key {KEY}"}, "data.results.api_key_id"),
    ],
)
def test_a_hostile_value_is_rejected_by_field_and_set_aside(
    env: ProcessorEnv, tmp_path: Path, fields: dict[str, Any], field: str
) -> None:
    org, error = reject_completion(env, tmp_path, **fields)
    assert error.details["field"] == field
    kept = org.env.settings.var_dir / str(error.details["quarantined"])
    assert KEY.encode() not in gzip.decompress(kept.read_bytes())
    assert KEY not in str(error)


def test_a_result_may_repeat_the_time_of_its_bucket(env: ProcessorEnv, tmp_path: Path) -> None:
    org = new_openai_org(env)
    start = openai_page([])["data"][0]["start_time"]
    usage = completion(MODEL, input_tokens=800_000, start_time=start)
    priced = run_openai_usage(org, openai_pages(tmp_path, completions=[usage]))
    assert priced.cost()[0] == 2


def test_anthropic_counts_are_not_below_zero(env: ProcessorEnv, tmp_path: Path) -> None:
    with pytest.raises(ProviderProtocolError) as caught:
        price_anthropic(env, tmp_path, [message_usage("claude-opus-5", output=-1)])
    assert caught.value.details["field"] == "output_tokens"
