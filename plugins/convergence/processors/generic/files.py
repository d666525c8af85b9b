"""Files under the folder of configurations, named in a step's configuration."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

_FOLDERS = r"^[a-z0-9][a-z0-9_]*(/[a-z0-9][a-z0-9_]*)*"

SqlFile = Annotated[str, Field(pattern=_FOLDERS + r"\.sql$")]
"""A SQL file, such as `openai/cost/sql/price_usage.sql`."""

SchemaFile = Annotated[str, Field(pattern=_FOLDERS + r"\.json$")]
"""A table's schema, such as `openai/cost/schemas/openai_cost_daily.json`."""

CsvFile = Annotated[str, Field(pattern=_FOLDERS + r"\.csv$")]
"""A seed, such as `openai/seed/data/default_pricing.csv`."""

Folder = Annotated[str, Field(pattern=_FOLDERS + "$")]
"""A folder, such as `setup/organizations/onboarding`."""

TableId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,200}$")]
"""A table of the org's dataset."""
