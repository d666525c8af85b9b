"""The address of a request's client, behind the reverse proxies that are trusted.

A proxy appends the address of its peer to `X-Forwarded-For`. From the right, the first address that
belongs to no trusted proxy is the client's; addresses left of it come from the client and are not
trusted. Without a trusted peer the header is ignored.

uvicorn may have read the header before (`airflow api-server --proxy-headers`): it then replaces the
address of a peer in `FORWARDED_ALLOW_IPS` by the last hop that is not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_IPV6_CLIENT_BITS = 64  # one customer's line has a /64 and any address in it


def client_address(
    peer: str | None,
    forwarded: Sequence[str],
    trusted: Sequence[Network],
    *,
    server_trusted: Sequence[Network] = (),
) -> str | None:
    """Return the client's address, or the peer's name where the peer has no address.

    Args:
        peer: of the connection.
        forwarded: the values of `X-Forwarded-For`, in the order of the headers.
        trusted: the networks of trusted proxies.
        server_trusted: the networks whose peers uvicorn may have replaced by a hop.
    """
    found = _parse_address(peer or "")
    if found is None:
        return peer
    hops = [hop for value in forwarded for hop in value.split(",")]
    hops = _list_hops_before(found, hops, server_trusted)
    while _is_trusted(found, trusted) and hops:
        hop = _parse_address(hops.pop())
        if hop is None:
            break
        found = hop
    return str(found)


def _list_hops_before(
    peer: Address, hops: list[str], server_trusted: Sequence[Network]
) -> list[str]:
    """Return the hops left of the peer if uvicorn took the peer from them, otherwise all hops.

    uvicorn takes the last hop that it does not trust. A client can't pretend that it did: the last
    hop is the client's real address, which is neither the peer's nor a trusted one.
    """
    for index in range(len(hops) - 1, -1, -1):
        hop = _parse_address(hops[index])
        if hop is None or not _is_trusted(hop, server_trusted):
            return hops[:index] if hop == peer else hops
    return hops


def build_failure_key(address: str | None) -> str:
    """Return the key that counts failures of an address: IPv4 itself, IPv6 its /64."""
    found = _parse_address(address or "")
    if found is None:
        return address or "unknown"
    if isinstance(found, IPv6Address):
        return str(ip_network((found, _IPV6_CLIENT_BITS), strict=False))
    return str(found)


def _is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address.version == one.version and address in one for one in trusted)


def _parse_address(text: str) -> Address | None:
    """Return the address, with or without a port; an IPv4-mapped IPv6 address as IPv4."""
    bare = text.strip().strip('"')
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        found = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
