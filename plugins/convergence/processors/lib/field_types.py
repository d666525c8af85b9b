"""Types of configuration fields: files below the folder of configurations, tables, pipelines."""

from __future__ import annotations

from typing import Annotated, Final

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

ColumnName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,100}$")]
"""A column of a table."""

PipelineId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=100)]
"""A pipeline, such as `openai-usage-cost`."""

ProviderName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,29}$")]
"""A provider's id, such as `openai`."""

ORG_LAYOUT: Final = "setup/organizations/onboarding"
"""The folder that describes every org's dataset: config.yml, schemas/, views/."""
