"""The ten usage endpoints: what each can be grouped by, and the fields of its results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from convergence_sandbox.providers.derive import share
from convergence_sandbox.providers.openai.query import DAY, BucketQuery, Dimensions
from convergence_sandbox.providers.openai.usage import UsageRow, build_usage

Result = dict[str, object]

_WHO = ("project_id", "user_id", "api_key_id")
_BY_WHO = {"project_ids": "project_id", "user_ids": "user_id", "api_key_ids": "api_key_id"}
_BY_MODEL = {**_BY_WHO, "models": "model"}
_BY_PROJECT = {"project_ids": "project_id"}


@dataclass(frozen=True)
class Endpoint:
    """One of `/organization/usage/{name}`."""

    name: str
    result: str
    dimensions: Dimensions
    always_null: tuple[str, ...] = ()

    def results(self, seed: str, start: int, query: BucketQuery) -> list[Result]:
        """Return the results of one bucket, grouped and filtered as requested."""
        present = _completion_fields if self.name == "completions" else dict[str, object]
        return [
            {
                "object": f"organization.usage.{self.result}.result",
                **present(amounts),
                **dict.fromkeys(self.always_null),
                **{key: keys.get(key) for key in self.dimensions.group_by},
            }
            for keys, amounts in _grouped(_slice(self.name, seed, start, query), query)
        ]


def _endpoint(
    name: str,
    filters: Mapping[str, str],
    *more: str,
    result: str = "",
    always_null: tuple[str, ...] = (),
) -> Endpoint:
    keys = tuple(dict.fromkeys([*filters.values(), *more]))
    return Endpoint(name, result or name, Dimensions(keys, filters), always_null)


ENDPOINTS = {
    endpoint.name: endpoint
    for endpoint in (
        _endpoint(
            "completions", {**_BY_MODEL, "batch": "batch"}, "batch", "service_tier", "api_source"
        ),
        _endpoint("embeddings", _BY_MODEL),
        _endpoint("moderations", _BY_MODEL),
        _endpoint("images", {**_BY_MODEL, "sources": "source", "sizes": "size"}),
        _endpoint("audio_speeches", _BY_MODEL),
        _endpoint("audio_transcriptions", _BY_MODEL),
        _endpoint("vector_stores", _BY_PROJECT),
        _endpoint("code_interpreter_sessions", _BY_PROJECT),
        _endpoint(
            "file_search_calls",
            {**_BY_WHO, "vector_store_ids": "vector_store_id"},
            result="file_searches",
        ),
        _endpoint(
            "web_search_calls",
            {**_BY_MODEL, "context_levels": "context_level"},
            result="web_searches",
            always_null=("api_source",),
        ),
    )
}


def _slice(name: str, seed: str, start: int, query: BucketQuery) -> Iterable[UsageRow]:
    """Return the rows of a bucket. Parts of a day add up to the day."""
    rows = build_usage(seed, name, datetime.fromtimestamp(start, tz=UTC).date())
    for row in rows:
        if not _passes(row, query.filters):
            continue
        parts, index = DAY // query.width, start % DAY // query.width
        amounts = {key: share(value, index, parts) for key, value in row.amounts.items()}
        if any(amounts.values()):
            yield UsageRow(row.keys, amounts)


def _passes(row: UsageRow, filters: Mapping[str, tuple[str, ...]]) -> bool:
    return all(_format_value(row.keys.get(key)) in accepted for key, accepted in filters.items())


def _format_value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _grouped(
    rows: Iterable[UsageRow], query: BucketQuery
) -> list[tuple[dict[str, object], dict[str, int]]]:
    groups: dict[tuple[object, ...], dict[str, int]] = {}
    for row in rows:
        sums = groups.setdefault(tuple(row.keys.get(key) for key in query.group_by), {})
        for name, value in row.amounts.items():
            sums[name] = sums.get(name, 0) + value
    return [
        (dict(zip(query.group_by, values, strict=True)), sums) for values, sums in groups.items()
    ]


def _completion_fields(amounts: Mapping[str, int]) -> Result:
    """The 2026 shape: input = uncached + cached + cache_write; text excludes the latter two."""
    written = amounts["written_30m"] + amounts["written_12h"]
    fields: Result = {
        "input_tokens": amounts["uncached"] + amounts["cached"] + written,
        "input_cached_tokens": amounts["cached"],
        "input_cache_write_tokens": written,
        "input_uncached_tokens": amounts["uncached"],
        "output_tokens": amounts["output"],
        "input_text_tokens": amounts["uncached"],
        "output_text_tokens": amounts["output"],
        "input_cached_text_tokens": amounts["cached"],
        "input_audio_tokens": 0,
        "input_cached_audio_tokens": 0,
        "output_audio_tokens": 0,
        "input_image_tokens": 0,
        "input_cached_image_tokens": 0,
        "output_image_tokens": 0,
        "num_model_requests": amounts["num_model_requests"],
    }
    if written:
        fields["input_cache_write_30m_tokens"] = amounts["written_30m"]
        fields["input_cache_write_12h_tokens"] = amounts["written_12h"]
    return fields
