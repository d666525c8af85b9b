"""The origin that a credential may be sent to: scheme, host, port and path prefix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlencode, urljoin, urlsplit

from convergence.errors import ConfigurationError, ProviderProtocolError

Params = Sequence[tuple[str, str]]

_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of a client. `prefix` is empty, or starts with a slash and ends without one."""

    scheme: str
    host: str
    port: int
    prefix: str

    @classmethod
    def from_url(cls, base_url: str) -> Origin:
        """Return the origin of a configured base URL.

        Raises:
            ConfigurationError: not an http(s) URL, or one with user, query or fragment.
        """
        try:
            parts = urlsplit(base_url)
            port = parts.port
        except ValueError:
            raise ConfigurationError("A base URL can't be read") from None
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ConfigurationError("A base URL needs http or https and a host")
        if parts.username is not None or parts.query or parts.fragment:
            raise ConfigurationError(
                "A base URL must not have a user, query or fragment", host=parts.hostname
            )
        _check_path(parts.path, ConfigurationError("A base URL's path must be plain"))
        return cls(
            parts.scheme,
            parts.hostname.lower(),
            port or _PORTS[parts.scheme],
            parts.path.rstrip("/"),
        )

    def url(self, path: str, params: Params = ()) -> str:
        """Return the URL of a path below the prefix."""
        _check_path(path, ConfigurationError("A request's path leaves its prefix"))
        default = _PORTS[self.scheme] == self.port
        host = f"[{self.host}]" if ":" in self.host else self.host
        place = host if default else f"{host}:{self.port}"
        tail = f"?{urlencode(params)}" if params else ""
        return f"{self.scheme}://{place}{self.prefix}/{path.lstrip('/')}{tail}"

    def follow(self, link: str, *, current: str) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Return path below the prefix, and params, of a next link on the page at `current`.

        Raises:
            ProviderProtocolError: the link leaves this origin or its prefix.
        """
        try:
            parts = urlsplit(urljoin(current, link))
            place = (parts.scheme, (parts.hostname or "").lower(), parts.port)
        except ValueError:
            raise ProviderProtocolError("A next link can't be read") from None
        port = place[2] or _PORTS.get(place[0])
        inside = parts.path.startswith(f"{self.prefix}/") and parts.username is None
        if (place[0], place[1], port) != (self.scheme, self.host, self.port) or not inside:
            raise ProviderProtocolError(
                "A next link leaves its origin; it was not followed",
                expected_host=self.host,
                linked_host=place[1],
            )
        _check_path(parts.path, ProviderProtocolError("A next link's path is not plain"))
        params = tuple(parse_qsl(parts.query, keep_blank_values=True))
        return parts.path.removeprefix(self.prefix), params


def _check_path(path: str, error: Exception) -> None:
    plain = unquote(path)
    if "\\" in plain or "?" in plain or "#" in plain or not plain.isprintable():
        raise error
    if any(part in {".", ".."} for part in plain.split("/")):
        raise error
