"""Which addresses of the network are everybody's, and which lead to this machine or its neighbours."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address

_TRANSLATED = ip_network("64:ff9b::/96")  # NAT64: the last 32 bits are the IPv4 address that is reached
_UNICAST = ip_network("2000::/3")  # all that is given out of IPv6
# Beside what the standard library of every supported Python knows: protocol assignments, the host of Azure's machines,
# the tunnels (Teredo lies in the first, 6to4 is the second), and documentation.
_NOT_PUBLIC = tuple(
    map(ip_network, ("192.0.0.0/24", "168.63.129.16/32", "2001::/23", "2002::/16", "2001:db8::/32", "3fff::/20"))
)


def is_public(address: Address) -> bool:
    """Whether the address is a public unicast one. What embeds an IPv4 address is judged by that one."""
    if isinstance(address, IPv6Address):
        embedded = address.ipv4_mapped or (IPv4Address(int(address) & 0xFFFFFFFF) if address in _TRANSLATED else None)
        if embedded is not None:
            return is_public(embedded)
        if address not in _UNICAST:
            return False
    known = address.is_global and not address.is_multicast and not address.is_reserved
    return known and not any(address in network for network in _NOT_PUBLIC)


def is_elsewhere(address: Address) -> bool:
    """Whether it is public and leads to another machine. This one's own may pass by what a firewall keeps out."""
    return is_public(address) and not is_own(address)


def is_own(address: Address) -> bool:
    """Whether this machine has the address: to nothing else would it send from it. Nothing is sent."""
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            return ip_address(probe.getsockname()[0]) == address
    except OSError:  # there is no way to it
        return False


async def lookup(host: str) -> list[Address]:
    """The addresses of a host in the system's order, or the one that it is. Raises OSError where there is none."""
    try:
        return [ip_address(host.strip("[]"))]
    except ValueError:
        pass
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label that is empty, or too long for a name
        raise OSError(f"{host} is not a name that can be looked up") from None
    return list(dict.fromkeys(ip_address(place[4][0]) for place in found))
