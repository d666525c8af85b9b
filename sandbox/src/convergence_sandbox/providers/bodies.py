"""Faults in the content of a response: a sound body in, a broken one out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from convergence_sandbox.providers.faults import Fault
from convergence_sandbox.providers.provider import PageDialect, from_json, to_json

END_TOKEN = "page_sandbox_end"  # noqa: S105 - a page token
HTML = b"<!doctype html><html><head><title>502</title></head><body>Bad gateway</body></html>"


def spoil(
    kind: str, body: bytes, *, fault: Fault, dialect: PageDialect, token: str | None
) -> bytes:
    """Return the broken form of a JSON body. `token` is the page token that the request carried."""
    if kind in _TEXT_ERRORS:
        return _TEXT_ERRORS[kind](body)
    page = from_json(body)
    _PAGE_FAULTS[kind](_Page(page, dialect, token), fault)
    return to_json(page)


class _Page:
    """A page seen through its provider's dialect."""

    def __init__(self, body: dict[str, Any], dialect: PageDialect, token: str | None) -> None:
        self.body = body
        self.dialect = dialect
        self.token = token

    @property
    def items(self) -> list[Any]:
        found = self.body.get(self.dialect.items)
        return found if isinstance(found, list) else []

    def rows(self) -> list[Any]:
        """Return every row, inside buckets too."""
        if self.dialect.rows is None:
            return self.items
        return [row for item in self.items for row in item[self.dialect.rows]]

    def set_items(self, items: list[Any] | None) -> None:
        self.body[self.dialect.items] = items

    @property
    def next_token(self) -> str | None:
        found: Any = self.body
        for key in self.dialect.token:
            found = (found or {}).get(key)
        return found if isinstance(found, str) else None

    def set_next(self, token: str | None) -> None:
        *parents, last = self.dialect.token
        place = self.body
        for key in parents:
            place = place.setdefault(key, {})
        place[last] = token
        if self.dialect.more is not None:
            self.body[self.dialect.more] = token is not None


def _loop(page: _Page, fault: Fault) -> None:
    """Every page points at the page after the first one struck."""
    first = fault.state.setdefault("token", page.next_token or page.token)
    page.set_next(first)


def _cursor_at_end(page: _Page, _fault: Fault) -> None:
    """The last page points at one more, which is empty and points nowhere."""
    if page.next_token is None:
        page.set_next(END_TOKEN)


def _missing_page(page: _Page, _fault: Fault) -> None:
    """The pages after this one are never mentioned."""
    page.set_next(None)


def _duplicate_rows(page: _Page, _fault: Fault) -> None:
    """A row, in a bucket if pages have buckets, is there twice."""
    if page.dialect.rows is None:
        page.set_items([*page.items, *page.items[:1]])
        return
    for item in page.items:
        item[page.dialect.rows].extend(item[page.dialect.rows][:1])


def _shifted_window(page: _Page, fault: Fault) -> None:
    """The page begins with the last item of the page before."""
    before = fault.state.get("last")
    if page.items:
        fault.state["last"] = json.loads(to_json(page.items[-1]))
    if before is not None:
        page.set_items([before, *page.items])


def _type_drift(page: _Page, _fault: Fault) -> None:
    """An integer of every row, nested ones included, has become an object."""
    for row in page.rows():
        _drift(row)


def _drift(row: dict[str, Any]) -> bool:
    for key, value in row.items():
        if isinstance(value, int) and not isinstance(value, bool):
            row[key] = {"value": value}
            return True
        if isinstance(value, dict) and _drift(value):
            return True
    return False


def _new_field(page: _Page, _fault: Fault) -> None:
    """Every row has a field that no one announced."""
    for row in page.rows():
        row["x_sandbox_new"] = {"since": "2026-11-21", "level": 3}


def _foreign_link(page: _Page, fault: Fault) -> None:
    """The next page is said to be on another host."""
    page.set_next(str(fault.options.get("location", "http://127.0.0.1:9/")))


def _fewer_rows(page: _Page, fault: Fault) -> None:
    """Rows are missing and nothing shows it: of each list of rows, a share `keep` is left."""
    keep = float(fault.options.get("keep", 0.5))
    if page.dialect.rows is None:
        page.set_items(_take_share(page.items, keep))
        return
    for item in page.items:
        item[page.dialect.rows] = _take_share(item[page.dialect.rows], keep)


def _take_share(rows: list[Any], share: float) -> list[Any]:
    return rows[: int(len(rows) * share)]


def _no_rows(page: _Page, _fault: Fault) -> None:
    """Every row is missing; buckets are there."""
    if page.dialect.rows is None:
        page.set_items([])
        return
    for item in page.items:
        item[page.dialect.rows] = []


def _first_number_becomes(text: bytes) -> Callable[[bytes], bytes]:
    return lambda body: re.sub(rb":(-?\d[\d.]*)", b":" + text, body, count=1)


def _in_the_first_string(body: bytes) -> bytes:
    return re.sub(rb'"([^"]+)":', b'"\xff\xc3\\1":', body, count=1)


_TEXT_ERRORS: dict[str, Callable[[bytes], bytes]] = {
    "malformed": lambda body: body[: len(body) * 2 // 3],
    "html": lambda _body: HTML,
    "bad_utf8": _in_the_first_string,
    "nan": _first_number_becomes(b"NaN"),
    "huge_number": _first_number_becomes(b"1e999999999"),
    "duplicate_keys": lambda body: re.sub(rb"^\{", b'{"data":[],', body),
    "deep_nesting": lambda _body: b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}
_PAGE_FAULTS: dict[str, Callable[[_Page, Fault], None]] = {
    "loop": _loop,
    "cursor_at_end": _cursor_at_end,
    "missing_page": _missing_page,
    "empty_page": lambda page, _fault: page.set_items([]),
    "null_page": lambda page, _fault: page.set_items(None),
    "duplicate_rows": _duplicate_rows,
    "shifted_window": _shifted_window,
    "type_drift": _type_drift,
    "new_field": _new_field,
    "foreign_link": _foreign_link,
    "fewer_rows": _fewer_rows,
    "no_rows": _no_rows,
}
