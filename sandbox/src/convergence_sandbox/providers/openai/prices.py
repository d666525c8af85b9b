"""Public list prices of what the stand-in's organizations use.

USD per million tokens, from <https://developers.openai.com/api/docs/pricing> as of October 2026.
The bill is computed from this table alone: it ties out with usage unless an effect changes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

BATCH = "batch"
FLEX = "flex"
PRIORITY = "priority"
STANDARD = "standard"


@dataclass(frozen=True)
class TokenPrice:
    """USD per million tokens."""

    uncached: Decimal
    cached: Decimal
    output: Decimal
    cache_write: Decimal = Decimal(0)


@dataclass(frozen=True)
class Variant:
    """One model as it is called: a snapshot and a processing. Without a price it is not billed."""

    model: str
    processing: str
    price: TokenPrice | None
    since: date = date(2024, 10, 1)

    @property
    def batch(self) -> bool:
        """Return the API's `batch` key."""
        return self.processing == BATCH

    @property
    def service_tier(self) -> str:
        """Return the API's `service_tier` key."""
        return self.processing if self.processing in {FLEX, PRIORITY} else "default"

    @property
    def meter(self) -> str:
        """Return what stands before the token class in a cost line, such as `batch_`."""
        return "" if self.processing == STANDARD else f"{self.processing}_"


def _at(uncached: str, cached: str, output: str, cache_write: str = "0") -> TokenPrice:
    return TokenPrice(Decimal(uncached), Decimal(cached), Decimal(output), Decimal(cache_write))


# When the pricing page was first seen to list them; no one here uses them before.
_TIERS_LISTED = date(2026, 10, 12)

# Batch rows never hold cached tokens: not every model has a public price for them.
COMPLETIONS = (
    Variant("gpt-4o-2024-08-06", STANDARD, _at("2.5", "1.25", "10")),
    Variant("gpt-4o-2024-08-06", PRIORITY, _at("4.25", "2.125", "17"), _TIERS_LISTED),
    Variant("gpt-4o-mini-2024-07-18", STANDARD, _at("0.15", "0.075", "0.6")),
    Variant("gpt-4o-mini-2024-07-18", BATCH, _at("0.075", "0", "0.3")),
    Variant("gpt-4.1-2025-04-14", STANDARD, _at("2", "0.5", "8"), date(2025, 4, 14)),
    Variant("gpt-4.1-2025-04-14", BATCH, _at("1", "0", "4"), date(2025, 4, 14)),
    Variant("o4-mini-2025-04-16", STANDARD, _at("1.1", "0.275", "4.4"), date(2025, 4, 16)),
    Variant("gpt-5-2025-08-07", STANDARD, _at("1.25", "0.125", "10"), date(2025, 8, 7)),
    Variant("gpt-5-2025-08-07", BATCH, _at("0.625", "0", "5"), date(2025, 8, 7)),
    Variant("gpt-5-2025-08-07", FLEX, _at("0.625", "0.0625", "5"), _TIERS_LISTED),
    Variant("gpt-5-2025-08-07", PRIORITY, _at("2.5", "0.25", "20"), _TIERS_LISTED),
    Variant("gpt-5-mini-2025-08-07", STANDARD, _at("0.25", "0.025", "2"), date(2025, 8, 7)),
    Variant("gpt-5-mini-2025-08-07", FLEX, _at("0.125", "0.0125", "1"), _TIERS_LISTED),
    Variant("gpt-6-astra", STANDARD, _at("10", "1", "50", "12.5"), date(2026, 9, 3)),
)
UNPRICED = Variant("gpt-sandbox-preview-2024-10-01", STANDARD, None)

EMBEDDINGS = {
    "text-embedding-3-small": Decimal("0.02"),
    "text-embedding-3-large": Decimal("0.13"),
}

# USD per unit: one call, one character, one second, one session.
WEB_SEARCH_CALL = Decimal("0.01")
FILE_SEARCH_CALL = Decimal("0.0025")
SPEECH_CHARACTER = Decimal("0.000015")
TRANSCRIBED_SECOND = Decimal("0.0001")
CODE_INTERPRETER_SESSION = Decimal("0.03")
# What only the effects of a bill charge: an image of 1024x1024 at medium quality, and a gibibyte of
# vectors above the free one for a day.
IMAGE = Decimal("0.042")
GIBIBYTE_DAY = Decimal("0.1")
