"""Tells public network addresses from those of this machine and its local networks."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address

_NETWORKS = tuple(
    map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"))
) + tuple(map(ip_network, ("fc00::/7", "fe80::/10")))
"""Private networks. Two machines in the same network may be able to reach each other."""
_LINKS = tuple(map(ip_network, ("169.254.0.0/16", "fe80::/10")))
_METADATA = ip_address("fd00:ec2::254")
_TRANSLATED = ip_network("64:ff9b::/96")  # NAT64: the last 32 bits are an IPv4 address
_UNICAST = ip_network("2000::/3")  # all public unicast addresses of IPv6
# Networks that ``ipaddress`` of some supported Python version reports as public: protocol assignments, the host of
# Azure's machines, tunnels (``2001::/23`` contains Teredo, ``2002::/16`` is 6to4), and documentation.
_NOT_PUBLIC = tuple(
    map(ip_network, ("192.0.0.0/24", "168.63.129.16/32", "2001::/23", "2002::/16", "2001:db8::/32", "3fff::/20"))
)


def is_public(address: Address) -> bool:
    """Whether the address is public and unicast.

    If an IPv6 address contains an IPv4 address, the IPv4 address decides.
    """
    address = _plain(address)
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return False
    known = address.is_global and not address.is_multicast and not address.is_reserved
    return known and not any(address in network for network in _NOT_PUBLIC)


def _plain(address: Address) -> Address:
    """The IPv4 address inside an IPv6 address, or else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    return address.ipv4_mapped or (IPv4Address(int(address) & 0xFFFFFFFF) if address in _TRANSLATED else address)


def is_near(address: Address, other: Address) -> bool:
    """Whether an API at ``other`` may return URLs with ``address``, which is not public.

    An API on this machine may return addresses of this machine and of private networks, but no link-local
    addresses, where clouds serve credentials. An API in a private network may return addresses of the same network.
    """
    address, other = _plain(address), _plain(other)
    if _is_here(other):
        return _is_here(address) or (_is_private(address) and not _is_link(address))
    return any(address in network and other in network for network in _NETWORKS) and not _is_here(address)


def _is_here(address: Address) -> bool:
    return address.is_loopback or address.is_unspecified or is_own(address)


def _is_private(address: Address) -> bool:
    return any(address in network for network in _NETWORKS)


def _is_link(address: Address) -> bool:
    return address == _METADATA or any(address in network for network in _LINKS)


def is_elsewhere(address: Address) -> bool:
    """Whether the address is public and another machine's. Traffic to this machine itself may bypass its firewall."""
    return is_public(address) and not is_own(address)


def is_own(address: Address) -> bool:
    """Whether the address is this machine's. The system then uses it as the source address too. No packet is sent."""
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            return ip_address(probe.getsockname()[0]) == address
    except OSError:  # the address cannot be reached
        return False


async def lookup(host: str) -> list[Address]:
    """The addresses of a host in the system's order. A host that is an address is returned as its only address.

    Raises OSError if the host has no address.
    """
    try:
        return [ip_address(host.strip("[]"))]
    except ValueError:
        pass
    try:
        places = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError:  # a part of the name is empty or too long
        raise OSError(f"{host} is not a name that can be looked up") from None
    return list(dict.fromkeys(ip_address(place[4][0]) for place in places))
