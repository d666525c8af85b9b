"""The usage of an organization on a UTC day, at its finest grain, derived from seed and day.

The clock plays no part: a day in the future has its usage too, so that a test of any date works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from convergence_sandbox.providers.derive import chance, keyword, number
from convergence_sandbox.providers.openai import prices
from convergence_sandbox.providers.openai.prices import Variant


@dataclass(frozen=True)
class UsageRow:
    """Who used what (`keys`), and how much (`amounts`, integers)."""

    keys: dict[str, str | bool | None]
    amounts: dict[str, int]


@dataclass(frozen=True)
class Place:
    """A project, one of its users and one of its API keys."""

    project_id: str
    user_id: str
    api_key_id: str

    @property
    def keys(self) -> dict[str, str | bool | None]:
        """As grouping keys."""
        return {
            "project_id": self.project_id,
            "user_id": self.user_id,
            "api_key_id": self.api_key_id,
        }


def is_idle(seed: str, day: date) -> bool:
    """Return whether no one used anything: one day in seven, for one seed in three."""
    return number(seed, "gaps", low=0, high=2) == 0 and number(seed, day, low=0, high=6) == 0


def projects(seed: str) -> list[str]:
    """Two to four project ids."""
    count = number(seed, "projects", low=2, high=4)
    return [f"proj_{keyword(seed, 'project', index, length=16)}" for index in range(count)]


@lru_cache(maxsize=512)
def build_usage(seed: str, endpoint: str, day: date) -> tuple[UsageRow, ...]:
    """Return every row of one endpoint on one day, in a fixed order."""
    if is_idle(seed, day):
        return ()
    return tuple(_ENDPOINTS[endpoint](seed, day))


def _completions(seed: str, day: date) -> Iterator[UsageRow]:
    offered = [*prices.COMPLETIONS, *([prices.UNPRICED] if "unpriced" in seed else [])]
    for project_id in projects(seed):
        for variant in offered:
            parts = (seed, project_id, variant.model, variant.processing)
            always = variant.price is None
            if variant.since > day or not (always or chance(*parts, day, percent=60)):
                continue
            for part in range(number(*parts, day, "parts", low=1, high=2)):
                place = _pick_place(seed, project_id, part)
                yield _completion(variant, place, (*parts, day, part))


def _completion(variant: Variant, place: Place, parts: tuple[object, ...]) -> UsageRow:
    requests = number(*parts, "requests", low=5, high=900)
    # At most 9,000 tokens a request: no request comes near a long-context price.
    total = requests * number(*parts, "input", low=150, high=9_000)
    cached = total * number(*parts, "cached", low=0, high=60) // 100
    written = total * number(*parts, "written", low=1, high=10) // 100
    if variant.batch:
        cached = 0
    if variant.price is None or variant.price.cache_write == 0:
        written = 0
    half_day = written * number(*parts, "12h", low=0, high=40) // 100
    return UsageRow(
        keys={
            **place.keys,
            "model": variant.model,
            "batch": variant.batch,
            "service_tier": variant.service_tier,
            "api_source": None,
        },
        amounts={
            "uncached": total - cached - written,
            "cached": cached,
            "written_30m": written - half_day,
            "written_12h": half_day,
            "output": requests * number(*parts, "output", low=20, high=1_200),
            "num_model_requests": requests,
        },
    )


def _embeddings(seed: str, day: date) -> Iterator[UsageRow]:
    for place in _places(seed):
        for model in prices.EMBEDDINGS:
            parts = (seed, place.project_id, model, day)
            if chance(*parts, percent=70):
                requests = number(*parts, "requests", low=10, high=4_000)
                tokens = requests * number(*parts, "input", low=40, high=2_000)
                yield UsageRow(
                    {**place.keys, "model": model},
                    {"input_tokens": tokens, "num_model_requests": requests},
                )


def _counted(
    endpoint: str, keys: dict[str, str | bool | None], ranges: dict[str, tuple[int, int]]
) -> Callable[[str, date], Iterator[UsageRow]]:
    """Return an endpoint of plain counters: one row per project on two days in three."""

    def rows(seed: str, day: date) -> Iterator[UsageRow]:
        for place in _places(seed):
            parts = (seed, place.project_id, endpoint, day)
            if chance(*parts, percent=66):
                amounts = {
                    name: number(*parts, name, low=low, high=high)
                    for name, (low, high) in ranges.items()
                }
                yield UsageRow({**place.keys, **keys}, amounts)

    return rows


def _web_searches(seed: str, day: date) -> Iterator[UsageRow]:
    for place in _places(seed):
        for level in ("low", "medium", "high"):
            parts = (seed, place.project_id, "web_search", level, day)
            if chance(*parts, percent=40):
                requests = number(*parts, "requests", low=1, high=200)
                calls = requests + number(*parts, "calls", low=0, high=100)
                yield UsageRow(
                    {
                        **place.keys,
                        "model": "gpt-5-2025-08-07",
                        "context_level": level,
                        "api_source": None,
                    },
                    {"num_model_requests": requests, "num_requests": calls},
                )


def _file_searches(seed: str, day: date) -> Iterator[UsageRow]:
    for place in _places(seed):
        parts = (seed, place.project_id, "file_search", day)
        if chance(*parts, percent=50):
            store = f"vs_{keyword(seed, place.project_id, 'store')}"
            calls = number(*parts, "calls", low=1, high=400)
            yield UsageRow({**place.keys, "vector_store_id": store}, {"num_requests": calls})


def _places(seed: str) -> list[Place]:
    return [_pick_place(seed, project_id, 0) for project_id in projects(seed)]


def _pick_place(seed: str, project_id: str, part: int) -> Place:
    user = number(seed, project_id, part, "user", low=0, high=2)
    return Place(
        project_id,
        f"user-{keyword(seed, 'user', user, length=16)}",
        f"key_{keyword(seed, project_id, 'key', part, length=16)}",
    )


_ENDPOINTS: dict[str, Callable[[str, date], Iterator[UsageRow]]] = {
    "completions": _completions,
    "embeddings": _embeddings,
    "moderations": _counted(
        "moderations",
        {"model": "omni-moderation-latest"},
        {"input_tokens": (200, 90_000), "num_model_requests": (1, 200)},
    ),
    "images": _counted(
        "images",
        {"model": "gpt-image-1", "size": "1024x1024", "source": "image.generation"},
        {"images": (1, 60), "num_model_requests": (1, 40)},
    ),
    "audio_speeches": _counted(
        "audio_speeches",
        {"model": "tts-1"},
        {"characters": (500, 90_000), "num_model_requests": (1, 100)},
    ),
    "audio_transcriptions": _counted(
        "audio_transcriptions",
        {"model": "whisper-1"},
        {"seconds": (30, 20_000), "num_model_requests": (1, 60)},
    ),
    # Below the free gibibyte, so that it is never billed.
    "vector_stores": _counted("vector_stores", {}, {"usage_bytes": (1_000_000, 1_000_000_000)}),
    "code_interpreter_sessions": _counted(
        "code_interpreter_sessions", {}, {"num_sessions": (1, 40)}
    ),
    "file_search_calls": _file_searches,
    "web_search_calls": _web_searches,
}
