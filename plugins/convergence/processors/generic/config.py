"""Configuration models of the steps that serve any provider."""

from __future__ import annotations

from typing import ClassVar

from convergence.processors.lib.pricing.pricing_config import PriceSeedConfig, RolloutConfig
from convergence.processors.lib.rest.rest_config import RestConfig
from convergence.processors.lib.transform.transform_config import TransformConfig


class SeedCsvConfig(PriceSeedConfig):
    """Loads any provider's default prices or plans into the org's table; the org's own stay."""

    ps_type: ClassVar[str] = "generic.seed_csv"


class ApiExtractorConfig(RestConfig):
    """Extracts any REST API into a typed table, day by day or as a snapshot."""

    ps_type: ClassVar[str] = "generic.api_extractor"


class LocalBqTransformerConfig(TransformConfig):
    """Fills a table of the org's dataset by a SQL file, day by day or as a whole."""

    ps_type: ClassVar[str] = "generic.local_bq_transformer"


class PriceRolloutConfig(RolloutConfig):
    """Brings a new edition of a price book to every org; says which past days it would change."""

    ps_type: ClassVar[str] = "generic.price_rollout"
