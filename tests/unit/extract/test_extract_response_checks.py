"""Values of a response that are rejected when it is read, each with the name of its field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from convergence.errors import ProviderProtocolError, ShapeChangedError
from convergence.extract.json_depth import MAX_DEPTH
from convergence.extract.response_checks import check_response, remove_credential_from_links
from convergence.extract.strict_json import parse_json

SECRET = "sk-admin-0123456789"


def check_value(value: object) -> None:
    body = json.dumps(value).encode()
    check_response(body, parse_json(body), secrets=(SECRET,))


def page(**fields: Any) -> dict[str, Any]:
    return {"data": [{"results": [fields]}]}


@pytest.mark.parametrize(
    "value",
    [
        page(n=2**63 - 1, m=-(2**63), u=2**64 - 1),
        page(text="\\u0000", other='a "quoted" [[[{{{ text \\', digits="9" * 40),
        page(amount=12345678901234567890.5, short="sk-admin"),
    ],
)
def test_a_sound_response_passes(value: object) -> None:
    check_value(value)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (page(n=2**64), "data.results.n"),
        (page(inner={"n": -(2**63) - 1}), "data.results.inner.n"),
        (page(text="a\0b"), "data.results.text"),
        (page(**{"a\0b": 1}), "data.results"),
        (page(key=f"your key {SECRET} is valid"), "data.results.key"),
        (page(**{SECRET: {"n": 1}}), "data.results"),
    ],
)
def test_a_value_that_no_table_can_hold_is_rejected_by_field(value: object, field: str) -> None:
    with pytest.raises(ProviderProtocolError) as caught:
        check_value(value)
    assert caught.value.details["field"] == field
    assert SECRET not in str(caught.value)


def nest(levels: int) -> bytes:
    """A page with a field `x` of so many levels below its own four."""
    deep = b'{"n":' * levels + b'"]}["' + b"}" * levels
    return b'{"text": "]]]]}}}}\\"[[", "data": [{"x": ' + deep + b"}]}"


def test_json_is_nested_up_to_the_limit() -> None:
    assert parse_json(nest(MAX_DEPTH - 3))


@pytest.mark.parametrize("levels", [MAX_DEPTH - 2, 900, 100_000])
def test_json_that_is_nested_too_deep_is_rejected_by_field(levels: int) -> None:
    with pytest.raises(ShapeChangedError) as caught:
        parse_json(nest(levels))
    assert str(caught.value.details["field"]).startswith("data.x.n")


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("https://a.example/x?key=s%2Bcret&page=2", "https://a.example/x?page=2"),
        ("https://a.example/x?page=2&key=s%2Bcret", "https://a.example/x?page=2"),
        ("https://a.example/x?a=1&key=s%2Bcret&page=2", "https://a.example/x?a=1&page=2"),
        ("https://a.example/x?key=s%2Bcret", "https://a.example/x?"),
        ("https://a.example/x?monkey=s%2Bcret", "https://a.example/x?monkey=s%2Bcret"),
        ("https://a.example/x?key=s%2Bcrets", "https://a.example/x?key=s%2Bcrets"),
    ],
)
def test_a_link_does_not_keep_the_credential_of_the_query(link: str, expected: str) -> None:
    body = json.dumps({"links": {"next": link}}).encode()
    cleaned = remove_credential_from_links(body, [("key", "s+cret")])
    assert json.loads(cleaned)["links"]["next"] == expected
