"""The documentation's pages: everything they load comes from here, and nothing else may."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient

PAGES = ("/docs", "/redoc")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_loads_from_this_server_alone_and_its_policy_says_so(
    client: TestClient, path: str
) -> None:
    page = client.get(path)
    policy = page.headers["Content-Security-Policy"]
    loaded = re.findall(r'(?:src|href|spec-url)="([^"]*)"', page.text)
    assert loaded
    assert all(address.startswith(("http://testserver/", "data:,")) for address in loaded)
    assert "http" not in policy
    scripts = next(part for part in policy.split("; ") if part.startswith("script-src"))
    assert re.fullmatch(r"script-src 'self' 'nonce-[\w-]{20,}'", scripts)


def test_a_pages_own_script_is_allowed_by_a_word_that_is_never_the_same(
    client: TestClient,
) -> None:
    told = set()
    for _ in range(2):
        page = client.get("/docs")
        [nonce] = re.findall(r'<script nonce="([\w-]+)">', page.text)
        assert f"'nonce-{nonce}'" in page.headers["Content-Security-Policy"]
        assert "<script>" not in page.text
        told.add(nonce)
    assert len(told) == 2


def test_the_scripts_and_styles_are_served(client: TestClient) -> None:
    kinds = {"js": "text/javascript", "css": "text/css"}
    for path in PAGES:
        for address in re.findall(
            r'"http://testserver(/docs/assets/[^"]*)"', client.get(path).text
        ):
            answer = client.get(address)
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith(kinds[address.rpartition(".")[2]])
            assert answer.headers["Cache-Control"] == "public, max-age=86400"
            assert len(answer.content) > 10_000


@pytest.mark.parametrize("name", ["core.py", "..%2f__init__.py", "../core.py", "favicon.png"])
def test_no_other_file_is(client: TestClient, name: str) -> None:
    assert client.get(f"/docs/assets/{name}").status_code in {404, 422}
