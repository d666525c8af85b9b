"""Numbers and ids derived from a hash: the same input gives the same output in every process."""

from __future__ import annotations

from hashlib import blake2b


def number(*parts: object, low: int, high: int) -> int:
    """Return an integer in [low, high] that depends on `parts` alone."""
    digest = blake2b("\x1f".join(str(part) for part in parts).encode(), digest_size=8).digest()
    return low + int.from_bytes(digest) % (high - low + 1)


def chance(*parts: object, percent: int) -> bool:
    """True for about `percent` of all `parts`."""
    return number("chance", *parts, low=0, high=99) < percent


def keyword(*parts: object, length: int = 8) -> str:
    """Return a lowercase hexadecimal id."""
    text = "\x1f".join(str(part) for part in parts).encode()
    return blake2b(text, digest_size=(length + 1) // 2).hexdigest()[:length]


def share(value: int, index: int, of: int) -> int:
    """Part `index` of `value` cut into `of` integers; the parts add up to `value`."""
    return value * (index + 1) // of - value * index // of
