"""FarmHash's 64-bit fingerprint, which FARM_FINGERPRINT is defined by.

An implementation of the published algorithm (farmhashna, https://github.com/google/farmhash).
"""

from __future__ import annotations

_MASK = 0xFFFFFFFFFFFFFFFF
_K0 = 0xC3A5C85C97CB3127
_K1 = 0xB492B66FBE98F273
_K2 = 0x9AE16A3B2F90404F


def fingerprint64(data: bytes) -> int:
    """Return the fingerprint as a signed 64-bit integer."""
    value = _hash(data)
    return value - (1 << 64) if value >> 63 else value


def _keyword(data: bytes, at: int, size: int = 8) -> int:
    return int.from_bytes(data[at : at + size], "little")


def _rotate(value: int, by: int) -> int:
    return ((value >> by) | (value << (64 - by))) & _MASK if by else value


def _mix(value: int) -> int:
    return value ^ (value >> 47)


def _pair(low: int, high: int, multiplier: int) -> int:
    one = ((low ^ high) * multiplier) & _MASK
    one ^= one >> 47
    two = ((high ^ one) * multiplier) & _MASK
    two ^= two >> 47
    return (two * multiplier) & _MASK


def _hash(data: bytes) -> int:
    size = len(data)
    if size <= 16:
        return _up_to_16(data)
    if size <= 32:
        return _up_to_32(data)
    if size <= 64:
        return _up_to_64(data)
    return _long(data)


def _up_to_16(data: bytes) -> int:
    size = len(data)
    if size >= 8:
        multiplier = (_K2 + size * 2) & _MASK
        one = (_keyword(data, 0) + _K2) & _MASK
        two = _keyword(data, size - 8)
        three = (_rotate(two, 37) * multiplier + one) & _MASK
        four = ((_rotate(one, 25) + two) * multiplier) & _MASK
        return _pair(three, four, multiplier)
    if size >= 4:
        multiplier = (_K2 + size * 2) & _MASK
        return _pair(
            (size + (_keyword(data, 0, 4) << 3)) & _MASK, _keyword(data, size - 4, 4), multiplier
        )
    if size > 0:
        low = data[0] + (data[size >> 1] << 8)
        high = size + (data[size - 1] << 2)
        return (_mix((low * _K2) & _MASK ^ (high * _K0) & _MASK) * _K2) & _MASK
    return _K2


def _up_to_32(data: bytes) -> int:
    size = len(data)
    multiplier = (_K2 + size * 2) & _MASK
    one = (_keyword(data, 0) * _K1) & _MASK
    two = _keyword(data, 8)
    three = (_keyword(data, size - 8) * multiplier) & _MASK
    four = (_keyword(data, size - 16) * _K2) & _MASK
    low = (_rotate((one + two) & _MASK, 43) + _rotate(three, 30) + four) & _MASK
    high = (one + _rotate((two + _K2) & _MASK, 18) + three) & _MASK
    return _pair(low, high, multiplier)


def _up_to_64(data: bytes) -> int:
    size = len(data)
    multiplier = (_K2 + size * 2) & _MASK
    one = (_keyword(data, 0) * _K2) & _MASK
    two = _keyword(data, 8)
    three = (_keyword(data, size - 8) * multiplier) & _MASK
    four = (_keyword(data, size - 16) * _K2) & _MASK
    low = (_rotate((one + two) & _MASK, 43) + _rotate(three, 30) + four) & _MASK
    high = _pair(low, (one + _rotate((two + _K2) & _MASK, 18) + three) & _MASK, multiplier)
    five = (_keyword(data, 16) * multiplier) & _MASK
    six = _keyword(data, 24)
    seven = ((low + _keyword(data, size - 32)) * multiplier) & _MASK
    eight = ((high + _keyword(data, size - 24)) * multiplier) & _MASK
    final = (_rotate((five + six) & _MASK, 43) + _rotate(seven, 30) + eight) & _MASK
    return _pair(final, (five + _rotate((six + one) & _MASK, 18) + seven) & _MASK, multiplier)


def _weak(data: bytes, at: int, low: int, high: int) -> tuple[int, int]:
    first, second = _keyword(data, at), _keyword(data, at + 8)
    third, fourth = _keyword(data, at + 16), _keyword(data, at + 24)
    low = (low + first) & _MASK
    high = _rotate((high + low + fourth) & _MASK, 21)
    kept = low
    low = (low + second + third) & _MASK
    high = (high + _rotate(low, 44)) & _MASK
    return (low + fourth) & _MASK, (high + kept) & _MASK


def _long(data: bytes) -> int:
    size, seed = len(data), 81
    x, y = seed, (seed * _K1 + 113) & _MASK
    z = (_mix((y * _K2 + 113) & _MASK) * _K2) & _MASK
    v, w = (0, 0), (0, 0)
    x = (x * _K2 + _keyword(data, 0)) & _MASK
    end = ((size - 1) // 64) * 64
    last = end + ((size - 1) & 63) - 63
    for at in range(0, end, 64):
        x = (_rotate((x + y + v[0] + _keyword(data, at + 8)) & _MASK, 37) * _K1) & _MASK
        y = (_rotate((y + v[1] + _keyword(data, at + 48)) & _MASK, 42) * _K1) & _MASK
        x ^= w[1]
        y = (y + v[0] + _keyword(data, at + 40)) & _MASK
        z = (_rotate((z + w[0]) & _MASK, 33) * _K1) & _MASK
        v = _weak(data, at, (v[1] * _K1) & _MASK, (x + w[0]) & _MASK)
        w = _weak(data, at + 32, (z + w[1]) & _MASK, (y + _keyword(data, at + 16)) & _MASK)
        z, x = x, z
    return _finish(data, last, (x, y, z), v, w)


def _finish(
    data: bytes, at: int, state: tuple[int, int, int], v: tuple[int, int], w: tuple[int, int]
) -> int:
    x, y, z = state
    multiplier = (_K1 + ((z & 0xFF) << 1)) & _MASK
    w = ((w[0] + ((len(data) - 1) & 63)) & _MASK, w[1])
    v = ((v[0] + w[0]) & _MASK, v[1])
    w = ((w[0] + v[0]) & _MASK, w[1])
    x = (_rotate((x + y + v[0] + _keyword(data, at + 8)) & _MASK, 37) * multiplier) & _MASK
    y = (_rotate((y + v[1] + _keyword(data, at + 48)) & _MASK, 42) * multiplier) & _MASK
    x ^= (w[1] * 9) & _MASK
    y = (y + v[0] * 9 + _keyword(data, at + 40)) & _MASK
    z = (_rotate((z + w[0]) & _MASK, 33) * multiplier) & _MASK
    v = _weak(data, at, (v[1] * multiplier) & _MASK, (x + w[0]) & _MASK)
    w = _weak(data, at + 32, (z + w[1]) & _MASK, (y + _keyword(data, at + 16)) & _MASK)
    z, x = x, z
    low = (_pair(v[0], w[0], multiplier) + _mix(y) * _K0 + z) & _MASK
    return _pair(low, (_pair(v[1], w[1], multiplier) + x) & _MASK, multiplier)
