"""The generic paginators over real HTTP: every style gives every row once, or says why not."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from convergence.errors import (
    ConvergenceError,
    ProviderProtocolError,
    ProviderRejectedError,
    ProviderUnavailableError,
)
from convergence.extract.canonical import ContentHash, encode_row
from convergence.extract.egress import Egress
from convergence.extract.guard import StreamLimits
from convergence.extract.http import HttpLimits, OriginClient
from convergence.extract.origin import Origin
from convergence.extract.paginate import (
    CursorPages,
    LinkPages,
    ListSource,
    NumberedPages,
    OffsetPages,
    Paginator,
)
from convergence.extract.ratelimit import Allowance, RequestRate
from convergence.extract.retry import Retrier, RetryPolicy
from convergence.extract.spool import Spool
from convergence.extract.stream import Query, StreamReport, extract_pages
from convergence_sandbox.providers.vendor import users
from support.vendors.providers_server import ProvidersServer

SEED = "acme"
KEY = f"vendor-sandbox-{SEED}"
TODAY = date(2026, 11, 20)
BEARER = {"authorization": f"Bearer {KEY}"}
Make = Callable[[Origin], Paginator]

LIMIT = (("limit", "40"),)
STYLES: dict[str, Make] = {
    "cursor": lambda _: CursorPages(ListSource("users", LIMIT), "after", "meta.next_cursor"),
    "offset": lambda _: OffsetPages(ListSource("users", total_path="total"), limit=40),
    "page": lambda _: NumberedPages(ListSource("users", more_path="has_more"), limit=40),
    "link-header": lambda origin: LinkPages(ListSource("users", LIMIT), origin),
    "link-body": lambda origin: LinkPages(ListSource("users", LIMIT), origin, "links.next"),
}


def extract_list(
    url: str,
    directory: Path,
    make: Make,
    *,
    headers: Mapping[str, str] | None = None,
    params: Sequence[tuple[str, str]] = (),
    limits: StreamLimits | None = None,
    allowance: Allowance | None = None,
) -> tuple[StreamReport, str]:
    spool = Spool.open(directory, fingerprint="vendor")
    with OriginClient(
        url,
        headers=BEARER if headers is None else headers,
        params=params,
        egress=Egress.LOOPBACK,
        limits=HttpLimits(read_seconds=0.5, request_seconds=1),
    ) as client:
        report = extract_pages(
            client,
            [Query("users", make(client.origin))],
            spool,
            limits=limits,
            retrier=Retrier(RetryPolicy(base_seconds=0.01)),
            allowance=allowance,
        )
    day = spool.write_day_files(lambda _: TODAY, [TODAY], unique_by=["id"])[TODAY]
    return report, day.content_hash


def expected() -> str:
    content = ContentHash()
    for row in users(SEED):
        content.add(encode_row(row))
    return content.hexdigest()


@pytest.mark.parametrize("style", STYLES)
def test_every_style_gives_every_row_once(
    providers: ProvidersServer, tmp_path: Path, style: str
) -> None:
    report, found = extract_list(f"{providers.url}/vendor/v1/{style}", tmp_path, STYLES[style])
    assert found == expected()
    assert report.rows == len(users(SEED))
    assert report.pages == -(-report.rows // 40)


def test_an_offset_list_without_total_ends_at_an_empty_page_only(
    providers: ProvidersServer, tmp_path: Path
) -> None:
    url = f"{providers.url}/vendor/v1/offset"
    report, found = extract_list(
        url, tmp_path, lambda _: OffsetPages(ListSource("users"), limit=40)
    )
    assert found == expected()
    assert report.requests == -(-report.rows // 40) + 1


AUTHORIZED: dict[str, dict[str, Any]] = {
    "header": {"headers": {"x-api-key": KEY}},
    "query": {"headers": {}, "params": [("api_key", KEY)]},
    "basic": {
        "headers": {"authorization": "Basic " + base64.b64encode(f"u:{KEY}".encode()).decode()}
    },
}


@pytest.mark.parametrize("form", AUTHORIZED)
def test_every_form_of_credential_goes_with_every_page(
    providers: ProvidersServer, tmp_path: Path, form: str
) -> None:
    url = f"{providers.url}/vendor/v1/cursor"
    assert extract_list(url, tmp_path, STYLES["cursor"], **AUTHORIZED[form])[1] == expected()


def test_a_credential_that_links_repeat_stays_out_of_the_spool(
    providers: ProvidersServer, tmp_path: Path
) -> None:
    _, found = extract_list(
        f"{providers.url}/vendor/v1/link-body",
        tmp_path,
        lambda origin: LinkPages(
            ListSource("users", LIMIT), origin, "links.next", frozenset({"api_key"})
        ),
        **AUTHORIZED["query"],
    )
    assert found == expected()
    pages = list(tmp_path.rglob("*.page"))
    assert len(pages) > 3
    assert not any(KEY.encode() in page.read_bytes() for page in pages)
    for served in providers.requests():
        assert [name for name, _ in served["query"]].count("api_key") == 1


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("kind", ["duplicate_rows", "shifted_window"])
def test_rows_that_come_twice_are_an_error(
    providers: ProvidersServer, tmp_path: Path, style: str, kind: str
) -> None:
    providers.lay({"kind": kind, "count": 2})
    with pytest.raises(ProviderProtocolError, match=r"a row twice|add up"):
        extract_list(f"{providers.url}/vendor/v1/{style}", tmp_path, STYLES[style])


@pytest.mark.parametrize("style", STYLES)
def test_an_empty_page_in_the_middle_is_an_error(
    providers: ProvidersServer, tmp_path: Path, style: str
) -> None:
    providers.lay({"kind": "empty_page", "skip": 1})
    with pytest.raises(ProviderProtocolError, match=r"empty page|add up"):
        extract_list(f"{providers.url}/vendor/v1/{style}", tmp_path, STYLES[style])


@pytest.mark.parametrize("style", STYLES)
def test_a_null_page_is_an_error(providers: ProvidersServer, tmp_path: Path, style: str) -> None:
    providers.lay({"kind": "null_page", "skip": 1})
    with pytest.raises(ProviderProtocolError, match="no list of rows"):
        extract_list(f"{providers.url}/vendor/v1/{style}", tmp_path, STYLES[style])


@pytest.mark.parametrize("style", ["cursor", "link-header", "link-body"])
def test_a_loop_is_noticed_within_two_pages(
    providers: ProvidersServer, tmp_path: Path, style: str
) -> None:
    providers.lay({"kind": "loop", "count": None})
    with pytest.raises(ProviderProtocolError, match="repeats"):
        extract_list(f"{providers.url}/vendor/v1/{style}", tmp_path, STYLES[style])
    assert len(providers.requests()) <= 3


@pytest.mark.parametrize("style", ["link-header", "link-body"])
@pytest.mark.parametrize("kind", ["foreign_link", "redirect"])
def test_a_credential_never_follows_a_link_to_another_host(
    providers: ProvidersServer, elsewhere: ProvidersServer, tmp_path: Path, style: str, kind: str
) -> None:
    location = f"{elsewhere.url}/vendor/v1/{style}/users?start=40"
    providers.lay({"kind": kind, "skip": 1, "options": {"location": location}})
    with pytest.raises(ProviderProtocolError, match="not followed"):
        extract_list(f"{providers.url}/vendor/v1/{style}", tmp_path, STYLES[style])
    assert elsewhere.requests() == []


@pytest.mark.parametrize("place", ["/openai/v1/models", "/vendor/v1/link-body-2/users"])
def test_a_link_may_not_leave_its_path_prefix_either(
    providers: ProvidersServer, tmp_path: Path, place: str
) -> None:
    providers.lay({"kind": "foreign_link", "options": {"location": providers.url + place}})
    with pytest.raises(ProviderProtocolError, match="leaves its origin"):
        extract_list(f"{providers.url}/vendor/v1/link-body", tmp_path, STYLES["link-body"])
    assert len(providers.requests()) == 1


def test_a_cursor_at_the_end_changes_nothing(providers: ProvidersServer, tmp_path: Path) -> None:
    providers.lay({"kind": "cursor_at_end", "count": None})
    url = f"{providers.url}/vendor/v1/cursor"
    assert extract_list(url, tmp_path, STYLES["cursor"])[1] == expected()


@pytest.mark.parametrize("limits", [StreamLimits(pages=2), StreamLimits(rows=60)])
def test_a_list_beyond_its_limits_is_an_error(
    providers: ProvidersServer, tmp_path: Path, limits: StreamLimits
) -> None:
    url = f"{providers.url}/vendor/v1/cursor"
    with pytest.raises(ProviderProtocolError, match="more than the limit"):
        extract_list(url, tmp_path, STYLES["cursor"], limits=limits)


def test_a_wrong_key_is_refused_and_not_retried(providers: ProvidersServer, tmp_path: Path) -> None:
    url = f"{providers.url}/vendor/v1/cursor"
    with pytest.raises(ProviderRejectedError) as refusal:
        extract_list(
            url, tmp_path, STYLES["cursor"], headers={"authorization": "Bearer wrong-key-1"}
        )
    assert refusal.value.details["status"] == 401
    assert "wrong-key-1" not in repr(refusal.value.details)
    assert len(providers.requests()) == 1


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("cut_after", [1, 3])
def test_an_attempt_goes_on_where_the_last_one_stopped(
    providers: ProvidersServer, tmp_path: Path, style: str, cut_after: int
) -> None:
    url = f"{providers.url}/vendor/v1/{style}"
    providers.lay({"kind": "status", "skip": cut_after, "count": 6})
    with pytest.raises(ProviderUnavailableError):
        extract_list(url, tmp_path, STYLES[style])
    report, found = extract_list(url, tmp_path, STYLES[style])
    assert found == expected()
    assert report.resumed_after == cut_after
    assert report.requests == report.pages - cut_after


def test_the_allowance_spaces_requests(providers: ProvidersServer, tmp_path: Path) -> None:
    naps: list[float] = []
    allowance = Allowance(
        RequestRate(3),
        org_slug=tmp_path.name,
        provider="vendor",
        host="127.0.0.1",
        sleep=naps.append,
    )
    with pytest.raises(ConvergenceError, match="rate limit"):
        extract_list(
            f"{providers.url}/vendor/v1/cursor",
            tmp_path,
            STYLES["cursor"],
            allowance=allowance,
            limits=StreamLimits(run_seconds=0.9),
        )
    assert len(providers.requests()) == 3
    assert naps == []
