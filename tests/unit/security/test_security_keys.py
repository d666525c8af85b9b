from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import NotAuthenticatedError, RequestError
from convergence.security.keys import (
    check_slug,
    compare_digests,
    compute_digest,
    last_four,
    new_org_key,
    split_org_key,
)

slugs = st.from_regex(r"[a-z0-9][a-z0-9_]{1,48}[a-z0-9]", fullmatch=True)


@given(slugs)
def test_a_key_gives_back_its_slug(slug: str) -> None:
    key = new_org_key(slug)
    assert split_org_key(key) == slug
    assert re.fullmatch(r"[0-9A-Za-z]{16}", key.removeprefix(f"{slug}_api_"))


@given(slugs, slugs)
def test_a_slug_may_hold_the_mark_itself(one: str, other: str) -> None:
    slug = f"{one[:20]}_api_{other[:20]}"
    assert split_org_key(new_org_key(slug)) == slug


def test_keys_differ() -> None:
    assert len({new_org_key("acme_corp") for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "key",
    [
        "",
        "acme_corp",
        "acme_corp_api_",
        "acme_corp_api_short",
        "acme_corp_api_0123456789abcdefg",
        "acme_corp_api_0123456789abcde!",
        "acme_corp_api_0123456789abcdef\n",
        "Acme_api_0123456789abcdef",
        "_api_0123456789abcdef",
        "ac/me_api_0123456789abcdef",
        "x" * 10_000 + "_api_0123456789abcdef",
        "acme_corp_api_" + "\uff10" * 10 + "abcdef",
    ],
)
def test_malformed_keys_are_refused_without_being_quoted(key: str) -> None:
    with pytest.raises(NotAuthenticatedError) as caught:
        split_org_key(key)
    assert not caught.value.details


@pytest.mark.parametrize(
    "slug", ["ab", "a" * 51, "Acme", "acme-corp", "_acme", "acme_", "acme\n", ""]
)
def test_bad_slugs_are_refused(slug: str) -> None:
    with pytest.raises(RequestError):
        check_slug(slug)


def test_digests() -> None:
    assert (
        compute_digest("key") == "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683"
    )
    assert compare_digests(compute_digest("a"), compute_digest("a"))
    assert not compare_digests(compute_digest("a"), "ü")
    assert len(compute_digest("\ud800")) == 64, "a lone surrogate must not be a server error"
    assert last_four("abcdef") == "cdef"
