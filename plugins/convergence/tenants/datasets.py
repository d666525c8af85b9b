"""The kinds of dataset of `system/dataset_types.yml`: how each is named and what it is given."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt

from convergence.config_files import Strict, read_config
from convergence.security.keys import check_slug
from convergence.settings import Settings
from convergence.warehouse.names import check_identifier

# The label of an org's dataset that says whose it is.
OWNER_LABEL = "org_slug"

# https://cloud.google.com/bigquery/docs/labels-intro#requirements
LabelKey = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
LabelValue = Annotated[str, Field(pattern=r"^[a-z0-9_-]{0,63}$")]


class DatasetType(Strict):
    """One kind of dataset; `{org_slug}` and `{env}` in its name and description are filled in."""

    name: str
    description: str
    location: str | None = None
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    default_table_expiration_days: PositiveInt | None = None
    default_partition_expiration_days: PositiveInt | None = None


class DatasetTypes(Strict):
    """Every kind of dataset."""

    central: DatasetType
    per_org: DatasetType


class DatasetTypesFile(Strict):
    """`system/dataset_types.yml`."""

    """`system/dataset_types.yml`."""

    dataset_types: DatasetTypes


def load_dataset_types(settings: Settings) -> DatasetTypes:
    """Load the dataset types from the file.

    Raises:
        ConfigurationError: the file is wrong.
    """
    return _read_types(settings.configs_dir / "system" / "dataset_types.yml")


def describe_central_dataset(settings: Settings) -> DatasetType:
    """Describe the dataset for the administration of all orgs."""
    return _fill_names(load_dataset_types(settings).central, settings, org_slug="")


def describe_org_dataset(settings: Settings, org_slug: str) -> DatasetType:
    """Describe an org's dataset.

    Raises:
        RequestError: the slug is none.
    """
    return _fill_names(
        load_dataset_types(settings).per_org, settings, org_slug=check_slug(org_slug)
    )


def _fill_names(kind: DatasetType, settings: Settings, *, org_slug: str) -> DatasetType:
    values = {"org_slug": org_slug, "env": settings.environment.dataset_suffix}
    name = check_identifier(kind.name.format_map(values))
    return kind.model_copy(
        update={
            "name": name,
            "description": kind.description.format_map(values),
            "location": kind.location or settings.bigquery_location,
        }
    )


@lru_cache(maxsize=4)
def _read_types(path: Path) -> DatasetTypes:
    return read_config(path, DatasetTypesFile).dataset_types
