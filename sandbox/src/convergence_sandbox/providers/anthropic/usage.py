"""The usage of an organization on a UTC day, at its finest grain, derived from seed and day.

The clock plays no part: a day in the future has its usage too, so that a test of any date works.
A seed with `unpriced` in it uses a model without a price, one with `priority` committed capacity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from convergence_sandbox.providers.anthropic import prices
from convergence_sandbox.providers.anthropic.prices import Variant
from convergence_sandbox.providers.derive import chance, keyword, number


@dataclass(frozen=True)
class UsageRow:
    """Who used what (`keys`), how much (`amounts`, integers), and at which rates."""

    keys: dict[str, str | None]
    amounts: dict[str, int]
    variant: Variant


def organization_id(seed: str) -> str:
    """Return the organization behind a key."""
    return f"org_{keyword(seed, 'organization', length=24)}"


def default_workspace(seed: str) -> str:
    """Return its id; the older reports call it null."""
    return f"wrkspc_{keyword(seed, 'workspace', 'default', length=24)}"


def workspaces(seed: str) -> list[str]:
    """Return the default one, then one to three others."""
    count = number(seed, "workspaces", low=1, high=3)
    others = [f"wrkspc_{keyword(seed, 'workspace', index, length=24)}" for index in range(count)]
    return [default_workspace(seed), *others]


def is_idle(seed: str, day: date) -> bool:
    """Return whether no one used anything: one day in seven, for one seed in three."""
    return number(seed, "claude gaps", low=0, high=2) == 0 and number(seed, day, low=0, high=6) == 1


def offered(seed: str, day: date) -> list[Variant]:
    """Return what the organization can use on a day."""
    found = [one for one in prices.VARIANTS if one.since <= day < one.until]
    if "priority" in seed:
        found.append(prices.COMMITTED)
    if "unpriced" in seed:
        found.append(prices.UNPRICED)
    return found


@lru_cache(maxsize=512)
def build_usage(seed: str, day: date) -> tuple[UsageRow, ...]:
    """Return every row of a day, in a fixed order."""
    return () if is_idle(seed, day) else tuple(_rows(seed, day))


def code_execution_hours(seed: str, workspace_id: str, day: date) -> int:
    """Billed hours of containers, which no usage report shows."""
    if is_idle(seed, day) or not chance(seed, workspace_id, day, "code", percent=50):
        return 0
    return number(seed, workspace_id, day, "hours", low=1, high=60)


def _rows(seed: str, day: date) -> Iterator[UsageRow]:
    for workspace_id in workspaces(seed):
        for variant in offered(seed, day):
            parts = (
                seed,
                workspace_id,
                variant.model,
                variant.service_tier,
                variant.context_window,
            )
            if variant.rates is not None and not chance(*parts, day, percent=60):
                continue
            for key in range(number(*parts, day, "keys", low=1, high=2)):
                yield _row(seed, workspace_id, variant, key, (*parts, day, key))


def _row(
    seed: str, workspace_id: str, variant: Variant, key: int, parts: tuple[object, ...]
) -> UsageRow:
    requests = number(*parts, "requests", low=5, high=900)
    size = (210_000, 600_000) if variant.context_window == prices.LONG else (150, 9_000)
    total = requests * number(*parts, "input", low=size[0], high=size[1])
    cached = total * number(*parts, "cached", low=0, high=60) // 100
    written = total * number(*parts, "written", low=0, high=20) // 100
    hour = written * number(*parts, "1h", low=0, high=50) // 100
    searches = number(*parts, "searches", low=0, high=requests) if chance(*parts, percent=30) else 0
    return UsageRow(
        keys={
            "workspace_id": workspace_id,
            "api_key_id": _api_key(seed, workspace_id, key),
            "model": variant.model,
            "service_tier": variant.service_tier,
            "context_window": variant.context_window,
            "inference_geo": "not_available",
            "speed": "standard",
            "organization_id": organization_id(seed),
            "product": "api",
        },
        amounts={
            "uncached": total - cached - written,
            "cache_read": cached,
            "write_5m": written - hour,
            "write_1h": hour,
            "output": requests * number(*parts, "output", low=20, high=1_200),
            "web_searches": 0 if variant.rates is None else searches,
            "requests": requests,
        },
        variant=variant,
    )


def _api_key(seed: str, workspace_id: str, key: int) -> str | None:
    """None is the Workbench, which only the default workspace uses."""
    if key == 1 and workspace_id == default_workspace(seed):
        return None
    return f"apikey_{keyword(seed, workspace_id, 'key', key, length=24)}"
