"""OpenAI's line items, as its bills and other readers of them write them, and what each names."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from support.processor_env import OrgEnv

DAY = date(2026, 9, 10)
START = datetime(2026, 9, 10, tzinfo=UTC)
# Line item → SKU, meter, tier and window.
ITEMS = {
    "gpt-4o-2024-08-06, input": ("gpt-4o-2024-08-06", "input_tokens", None, None),
    "gpt-4o-2024-08-06, batch_output_tokens": ("gpt-4o-2024-08-06", "output_tokens", "batch", None),
    "gpt-4o-mini-2024-07-18, cached input": (
        *("gpt-4o-mini-2024-07-18", "cached_input_tokens", None, None),
    ),
    "priority | gpt-5.6-sol, output, long context": (
        *("gpt-5.6-sol", "output_tokens", "priority", "long context"),
    ),
    "flex | gpt-5-mini": ("gpt-5-mini", None, "flex", None),
    "gpt-5, cache writes": ("gpt-5", "cache_write_tokens", None, None),
    "gpt-6-astra, all_tokens": ("gpt-6-astra", None, None, None),
    "whisper-1, duration": ("whisper-1", "seconds", None, None),
    "web search tool calls": ("web_search", "calls", None, None),
    "code interpreter sessions": ("code_interpreter", "sessions", None, None),
    "image generation": ("image generation", None, None, None),
}


@pytest.fixture
def billed(org: OrgEnv, tmp_path: Path) -> OrgEnv:
    """An org whose bill has one line of each kind."""
    rows = [
        {
            "usage_date": DAY,
            "bucket_start": START,
            "bucket_end": START + timedelta(days=1),
            "line_item": item,
            "billed_cost": Decimal(1),
            "currency": "USD",
            "amount_received": "1",
        }
        for item in ITEMS
    ]
    schema = "openai/cost/schemas/openai_billed_daily.json"
    org.publish_rows(
        rows, [DAY], schema_file=schema, folder=tmp_path, pipeline_id="openai-cost-extract"
    )
    return org


def test_every_line_item_names_model_meter_tier_and_window(billed: OrgEnv) -> None:
    path = billed.env.settings.configs_dir / "openai/cost/views/openai_billed_source.sql"
    sql = path.read_text().replace("{{ project }}", billed.env.warehouse.project)
    rows = billed.env.ask(sql.replace("{{ dataset }}", billed.dataset))
    found = {
        row["ChargeDescription"]: (
            *(row["SkuId"], row["SkuMeter"], row["x_ServiceTier"], row["x_ContextWindow"]),
        )
        for row in rows
    }
    assert found == ITEMS
