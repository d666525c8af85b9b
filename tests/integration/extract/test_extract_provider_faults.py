"""Every provider fault over real HTTP: exact data or a named error, nothing else."""

from __future__ import annotations

import gzip
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from convergence.errors import (
    ConvergenceError,
    MalformedResponseError,
    ProviderProtocolError,
    ProviderRejectedError,
    ProviderUnavailableError,
    ShapeChangedError,
)
from convergence.extract.buckets import BucketPages
from convergence.extract.canonical import ContentHash, encode_row
from convergence.extract.egress import Egress
from convergence.extract.guard import StreamLimits
from convergence.extract.http import HttpLimits, OriginClient
from convergence.extract.retry import Retrier, RetryPolicy
from convergence.extract.spool import Spool, day_from_field
from convergence.extract.stream import Query, extract_pages
from convergence.processors.openai.shape import UsageShape
from convergence.settings import PROJECT_ROOT
from convergence_sandbox.providers.faults import KINDS
from support.vendors.providers_server import ProvidersServer, client

FIRST = date(2026, 11, 14)
DAYS = [FIRST + timedelta(days=index) for index in range(4)]
START = int(datetime(2026, 11, 14, tzinfo=UTC).timestamp())
END = START + 4 * 86_400
PATH = "organization/usage/completions"
KEY = "sk-admin-sandbox-faulty_org"
PARAMS = (
    ("start_time", str(START)),
    ("end_time", str(END)),
    ("limit", "1"),
    ("group_by", "project_id"),
    ("group_by", "model"),
    ("group_by", "batch"),
    ("group_by", "service_tier"),
)
COUNTS = ("input_tokens", "output_tokens", "input_cached_tokens", "num_model_requests")
IDENTITY = ("usage_date", "project_id", "model", "batch", "service_tier")
SMALL_BOMB = {"size": 40 * 1024 * 1024}
SCHEMA = "include/configs/openai/cost/schemas/openai_usage_daily_raw.json"
COLUMNS = {
    one["name"]: one["type"] for one in json.loads((PROJECT_ROOT / SCHEMA).read_text())["fields"]
}
Days = dict[date, str]


def usage_shape(unknown: Counter[str] | None = None) -> UsageShape:
    return UsageShape("completions", columns=COLUMNS, unknown=unknown)


def to_row(row: Mapping[str, Any], shape: UsageShape) -> dict[str, Any]:
    known = shape.build_row(row)
    return {name: known[name] for name in (*IDENTITY, *COUNTS)}


@dataclass
class Trial:
    """One extraction into a spool of its own."""

    url: str
    directory: Path
    unknown: Counter[str] = field(default_factory=Counter)

    def run(self, *, seconds: float = 1.0, run_seconds: float = 20) -> Days:
        paginator = BucketPages(PATH, START, END, PARAMS)
        shape = usage_shape(self.unknown)
        query = Query("completions", paginator, lambda row: [to_row(row, shape)])
        spool = Spool.open(self.directory, fingerprint="one")
        with OriginClient(
            f"{self.url}/openai/v1",
            headers={"authorization": f"Bearer {KEY}"},
            egress=Egress.LOOPBACK,
            limits=HttpLimits(read_seconds=seconds / 2, request_seconds=seconds),
        ) as client:
            extract_pages(
                client,
                [query],
                spool,
                limits=StreamLimits(run_seconds=run_seconds),
                retrier=Retrier(RetryPolicy(base_seconds=0.01), rng=random.Random(1)),
            )
        sealed = spool.write_day_files(day_from_field("usage_date"), DAYS, unique_by=IDENTITY)
        return {day: read_back(found.path) for day, found in sealed.items()}


def read_back(path: Path) -> str:
    """The content hash of what is really in a sealed file."""
    content = ContentHash()
    for text in gzip.decompress(path.read_bytes()).splitlines():
        json.loads(text)
        content.add(text)
    return content.hexdigest()


@pytest.fixture
def trial(providers: ProvidersServer, tmp_path: Path) -> Trial:
    return Trial(providers.url, tmp_path / "spool")


@pytest.fixture
def exact(providers: ProvidersServer) -> Days:
    """What the days hold, read in one plain request without any of our own extractor."""
    asked = {"start_time": str(START), "end_time": str(END), "limit": "31"}
    answer = client().get(
        f"{providers.url}/openai/v1/{PATH}",
        params={**asked, "group_by": IDENTITY[1:]},
        headers={"authorization": f"Bearer {KEY}"},
    )
    days = {day: ContentHash() for day in DAYS}
    for bucket in answer.json()["data"]:
        for row in bucket["results"]:
            window = {name: bucket[name] for name in ("start_time", "end_time")}
            table_row = to_row({**row, **window}, usage_shape())
            days[date.fromisoformat(table_row["usage_date"])].add(encode_row(table_row))
    providers.reset()
    assert sum(content.rows for content in days.values()) > 20
    return {day: content.hexdigest() for day, content in days.items()}


def test_a_sound_provider_gives_exact_days(trial: Trial, exact: Days) -> None:
    assert trial.run() == exact


RETRY_AFTERS: dict[str, Callable[[], str | None]] = {
    "absent": lambda: None,
    "short": lambda: "0",
    "past date": lambda: "Wed, 21 Oct 2015 07:28:00 GMT",
    "near date": lambda: format_datetime(datetime.now(UTC), usegmt=True),
    "garbage": lambda: "soon, I promise",
    "negative": lambda: "-20",
}


@pytest.mark.parametrize("form", RETRY_AFTERS)
def test_429_is_obeyed_whatever_its_retry_after(
    trial: Trial, exact: Days, providers: ProvidersServer, form: str
) -> None:
    told = RETRY_AFTERS[form]()
    options = {} if told is None else {"retry_after": told}
    providers.lay({"kind": "rate_limited", "provider": "openai", "skip": 1, "options": options})
    assert trial.run() == exact
    assert len(providers.requests()) == 5


@pytest.mark.parametrize("told", ["3600", "Fri, 31 Dec 2100 00:00:00 GMT"])
def test_a_long_retry_after_fails_at_once_instead_of_sleeping(
    trial: Trial, providers: ProvidersServer, told: str
) -> None:
    providers.lay({"kind": "rate_limited", "options": {"retry_after": told}})
    began = time.monotonic()
    with pytest.raises(ProviderUnavailableError) as failure:
        trial.run()
    assert time.monotonic() - began < 1
    assert failure.value.details["status"] == 429
    assert isinstance(failure.value.details["retry_after"], float)
    assert failure.value.details["retry_after"] > 3_000


PASSING: list[dict[str, Any]] = [
    {"kind": "reset"},
    {"kind": "truncated"},
    {"kind": "truncated_gzip"},
    {"kind": "hang"},
    {"kind": "drip", "options": {"rate": 100}},
    {"kind": "status", "options": {"status": 500}},
    {"kind": "status", "options": {"status": 502}},
    {"kind": "status", "options": {"status": 503}},
    {"kind": "malformed"},
    {"kind": "html"},
    {"kind": "bad_utf8"},
]


@pytest.mark.parametrize("skip", [0, 2, 3])
@pytest.mark.parametrize("fault", PASSING, ids=str)
def test_what_passes_is_asked_for_again_and_the_days_are_exact(
    trial: Trial, exact: Days, providers: ProvidersServer, fault: dict[str, Any], skip: int
) -> None:
    providers.lay({**fault, "provider": "openai", "skip": skip})
    assert trial.run(seconds=0.4) == exact
    assert len(providers.requests()) == 5


STAYING = [
    ({"kind": "reset"}, ProviderUnavailableError, 6),
    ({"kind": "truncated"}, ProviderUnavailableError, 6),
    ({"kind": "status", "options": {"status": 500}}, ProviderUnavailableError, 6),
    ({"kind": "rate_limited"}, ProviderUnavailableError, 6),
    ({"kind": "truncated_gzip"}, MalformedResponseError, 3),
    ({"kind": "malformed"}, MalformedResponseError, 3),
    ({"kind": "html"}, MalformedResponseError, 3),
    ({"kind": "bad_utf8"}, MalformedResponseError, 3),
]


@pytest.mark.parametrize(("fault", "error", "attempts"), STAYING, ids=str)
def test_what_stays_is_a_named_error_after_bounded_attempts(
    trial: Trial,
    providers: ProvidersServer,
    fault: dict[str, Any],
    error: type[ConvergenceError],
    attempts: int,
) -> None:
    providers.lay({**fault, "skip": 1, "count": None})
    with pytest.raises(error):
        trial.run()
    assert len(providers.requests()) == 1 + attempts


@pytest.mark.parametrize("kind", ["hang", "drip"])
def test_a_provider_that_never_ends_is_left_at_the_deadline(
    trial: Trial, providers: ProvidersServer, kind: str
) -> None:
    providers.lay({"kind": kind, "count": None, "options": {"rate": 50}})
    began = time.monotonic()
    with pytest.raises(ProviderUnavailableError, match="in time"):
        trial.run(seconds=0.3, run_seconds=1.0)
    assert time.monotonic() - began < 1.5


REFUSED: list[tuple[dict[str, Any], type[ConvergenceError], str]] = [
    ({"kind": "oversized"}, ProviderProtocolError, "larger"),
    ({"kind": "gzip_bomb", "options": SMALL_BOMB}, ProviderProtocolError, "larger"),
    ({"kind": "unauthorized"}, ProviderRejectedError, "rejected"),
    ({"kind": "nan"}, ProviderProtocolError, "NaN"),
    ({"kind": "huge_number"}, ProviderProtocolError, "out of range"),
    ({"kind": "duplicate_keys"}, ProviderProtocolError, "duplicate keys"),
    ({"kind": "deep_nesting"}, ProviderProtocolError, "too deep"),
    ({"kind": "type_drift"}, ShapeChangedError, "another type"),
    ({"kind": "loop", "count": None}, ProviderProtocolError, "out of order, repeated"),
    ({"kind": "empty_page"}, ProviderProtocolError, "without a valid token"),
    ({"kind": "null_page"}, ProviderProtocolError, "no list of buckets"),
    ({"kind": "missing_page"}, ProviderProtocolError, "ends before"),
    ({"kind": "duplicate_rows"}, ProviderProtocolError, "a row twice"),
    ({"kind": "shifted_window", "count": 2}, ProviderProtocolError, "out of order, repeated"),
    ({"kind": "redirect"}, ProviderProtocolError, "redirect"),
    ({"kind": "foreign_link"}, ProviderRejectedError, "rejected"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[0]["kind"])
def test_what_breaks_the_shape_is_a_named_error_and_not_retried(
    trial: Trial,
    providers: ProvidersServer,
    elsewhere: ProvidersServer,
    case: tuple[dict[str, Any], type[ConvergenceError], str],
) -> None:
    fault, error, words = case
    options = {"location": f"{elsewhere.url}/openai/v1/{PATH}", **fault.get("options", {})}
    providers.lay({**fault, "provider": "openai", "skip": 1, "options": options})
    with pytest.raises(error, match=words) as failure:
        trial.run(seconds=10)  # unpacking a bomb to the cap takes a busy machine its time
    assert elsewhere.requests() == []
    assert KEY not in str(failure.value)
    assert len(providers.requests()) <= 6


def test_a_repeated_cursor_ends_before_it_has_cost_much(
    trial: Trial, providers: ProvidersServer
) -> None:
    providers.lay({"kind": "loop", "count": None})
    with pytest.raises(ProviderProtocolError):
        trial.run()
    assert len(providers.requests()) <= 3


def test_a_cursor_at_the_end_changes_nothing(
    trial: Trial, exact: Days, providers: ProvidersServer
) -> None:
    providers.lay({"kind": "cursor_at_end", "skip": 3})
    assert trial.run() == exact


def test_a_new_field_is_kept_apart_and_counted(
    trial: Trial, exact: Days, providers: ProvidersServer
) -> None:
    providers.lay({"kind": "new_field", "count": None})
    assert trial.run() == exact
    assert "x_sandbox_new" in trial.unknown


def test_a_key_revoked_in_mid_run_keeps_the_pages_for_the_next_attempt(
    trial: Trial, exact: Days, providers: ProvidersServer
) -> None:
    providers.lay({"kind": "unauthorized", "skip": 2})
    with pytest.raises(ProviderRejectedError):
        trial.run()
    assert trial.run() == exact
    assert len(providers.requests()) == 5


def test_pages_of_a_run_that_broke_the_shape_are_not_gone_on_with(
    trial: Trial, exact: Days, providers: ProvidersServer
) -> None:
    providers.lay({"kind": "null_page", "skip": 2})
    with pytest.raises(ProviderProtocolError):
        trial.run()
    assert trial.run() == exact
    assert len(providers.requests()) == 3 + 4


@pytest.mark.parametrize("seed", range(25))
def test_random_faults_give_exact_days_or_a_named_error(
    trial: Trial, exact: Days, providers: ProvidersServer, elsewhere: ProvidersServer, seed: int
) -> None:
    dice = random.Random(seed)
    providers.lay(
        *(
            {
                "kind": dice.choice(sorted(KINDS)),
                "skip": dice.randrange(4),
                "count": dice.choice([1, 1, 2, 3, 8]),
                "seed": seed,
                "options": {
                    "rate": 200,
                    "retry_after": "0",
                    "location": f"{elsewhere.url}/x",
                    **SMALL_BOMB,
                },
            }
            for _ in range(dice.randint(1, 3))
        )
    )
    for _ in range(4):
        try:
            found = trial.run(seconds=0.3, run_seconds=2)
        except ConvergenceError:
            continue
        assert found == exact
        break
    assert elsewhere.requests() == []
