"""Query parameters that both generations of reports share, checked as Anthropic checks them."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

MINUTE, HOUR, DAY = 60, 3_600, 86_400
WIDTHS = {"1m": MINUTE, "1h": HOUR, "1d": DAY}
_PAGE_PREFIX = "page_"


class InvalidQueryError(Exception):
    """Raised when a parameter is missing, unknown or wrong; rendered as Anthropic's 400."""


@dataclass(frozen=True)
class QueryParams:
    """The parameters of a request, brackets removed from their names."""

    values: Mapping[str, Sequence[str]]

    @classmethod
    def read(cls, pairs: Sequence[tuple[str, str]], *, accepted: set[str]) -> QueryParams:
        """Reject what the endpoint does not know."""
        values: dict[str, list[str]] = {}
        for name, value in pairs:
            values.setdefault(name.removesuffix("[]"), []).append(value)
        if unknown := sorted(set(values) - accepted):
            raise InvalidQueryError(f"{unknown[0]}: Extra inputs are not permitted")
        return cls(values)

    def text(self, name: str, default: str | None = None) -> str | None:
        """Return a parameter that may be given once."""
        found = self.values.get(name, ())
        if len(found) > 1:
            raise InvalidQueryError(f"{name}: given more than once")
        return found[0] if found else default

    def integer(self, name: str, *, default: int, high: int) -> int:
        """Return a whole number from 1 to `high`."""
        text = self.text(name, str(default)) or ""
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= high):
            raise InvalidQueryError(f"{name}: Input should be from 1 to {high}")
        return int(text)

    def moment(self, name: str, *, default: datetime | None = None) -> int:
        """Return an RFC 3339 time with a zone, as Unix seconds."""
        text = self.text(name)
        if text is None and default is not None:
            return int(default.timestamp())
        if text is None:
            raise InvalidQueryError(f"{name}: Field required")
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            raise InvalidQueryError(f"{name}: Input should be a valid datetime") from None
        if found.tzinfo is None:
            raise InvalidQueryError(f"{name}: Input should have timezone info")
        return int(found.timestamp())

    def one_of(self, name: str, accepted: Sequence[str], *, default: str | None) -> str | None:
        """Return one of the accepted words."""
        found = self.text(name, default)
        if found is not None and found not in accepted:
            raise InvalidQueryError(f"{name}: Input should be one of {', '.join(accepted)}")
        return found

    def several(self, name: str, accepted: Sequence[str]) -> tuple[str, ...]:
        """Any of the accepted words, each once."""
        for value in self.values.get(name, ()):
            if value not in accepted:
                raise InvalidQueryError(f"{name}: Input should be one of {', '.join(accepted)}")
        return tuple(dict.fromkeys(self.values.get(name, ())))

    def position(self) -> int | None:
        """Return where the page token says that this page begins."""
        text = self.text("page")
        if text is None:
            return None
        try:
            found = json.loads(base64.urlsafe_b64decode(text.removeprefix(_PAGE_PREFIX)))
            begins, digest = int(found[0]), str(found[1])
        except (binascii.Error, ValueError, TypeError, LookupError):
            raise InvalidQueryError("page: Invalid page token") from None
        if not text.startswith(_PAGE_PREFIX) or digest != self._digest():
            raise InvalidQueryError("page: The token belongs to another request")
        return begins

    def token(self, begins: int) -> str:
        """Return the token of the page that begins there, bound to every other parameter."""
        packed = json.dumps([begins, self._digest()]).encode()
        return _PAGE_PREFIX + base64.urlsafe_b64encode(packed).decode()

    def _digest(self) -> str:
        rest = {name: sorted(values) for name, values in self.values.items() if name != "page"}
        return sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:12]


def rfc3339(seconds: int) -> str:
    """Return a time in the form of the reports."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def passes(keys: Mapping[str, object], filters: Mapping[str, Sequence[str]]) -> bool:
    """Return whether a row is among those requested."""
    return all(str(keys.get(name)) in accepted for name, accepted in filters.items())
