"""Decides from which hosts outputs are downloaded. An output's URL must not lead into the user's private networks."""

from __future__ import annotations

import os
import sys
from ipaddress import ip_address
from typing import TYPE_CHECKING

import msgspec
from pyreqwest.http import Url

from replicate_job.address import is_elsewhere, is_near, lookup
from replicate_job.errors import NotSentError, OutputError
from replicate_job.http import is_loopback
from replicate_job.outputs.discover import DELIVERY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from replicate_job.address import Address

_TRIED = 4  # The most addresses of one host that are tried.
_LOOKS_UP = {"http": "http", "https": "https", "socks5": "socks5h", "socks5h": "socks5h", "socks4": "socks4a"}
"""For each scheme of a proxy, the scheme with which the proxy itself looks up host names."""


class Route(msgspec.Struct, frozen=True):
    """How to connect to a host: through ``proxy``, to one of ``addresses``, or in any way if both are empty."""

    proxy: str = ""
    addresses: tuple[Address, ...] = ()


class Reach:
    """Checks whether outputs may be fetched from a host. ``find`` looks up a host's addresses.

    ``api`` is the API's URL; None means a public API. A host on this machine or in a private network is refused if the
    API is not there too. Delivery hosts, the API's own host, and host names that a proxy looks up are allowed. With
    ``allow_private`` nothing is refused.
    """

    def __init__(
        self,
        api: str | None = None,
        *,
        allow_private: bool = False,
        find: Callable[[str], Awaitable[list[Address]]] = lookup,
    ) -> None:
        self._api = Url(api) if api else None
        self._allow_private, self._find = allow_private, find
        self._known: Sequence[Address] | None = None

    async def route(self, url: Url) -> Route:
        """Raises OutputError for a refused host, and NotSentError for a host that cannot be looked up."""
        host = host_of(url)
        if self._allow_private or _is_delivery(host) or (self._api and host == host_of(self._api)):
            return Route()
        literal = _literal(host)
        if literal is None and (proxy := _proxy(url)):
            return Route(proxy)
        try:
            addresses = [literal] if literal else await self._find(host)
        except OSError as error:
            raise NotSentError(f"no connection ({host} cannot be looked up: {error.strerror or error})") from None
        for address in addresses:
            if not is_elsewhere(address) and not await self._is_near(address):
                raise OutputError(
                    f"{host} is on this machine or in a private network, where outputs are not fetched from: if that "
                    "is meant, allow it with --allow-private-outputs (allow_private_outputs=True)"
                )
        return Route() if literal else Route(addresses=tuple(addresses[:_TRIED]))

    async def _is_near(self, address: Address) -> bool:
        return any(is_near(address, other) for other in await self._api_addresses())

    async def _api_addresses(self) -> Sequence[Address]:
        """The API's addresses. Empty for a public API, if a proxy looks up the API's host, or if the look-up fails."""
        if self._known is None:
            host = host_of(self._api) if self._api else ""
            try:
                is_direct = self._api and (_literal(host) or not _proxy(self._api))
                self._known = await self._find(host) if is_direct else ()
            except OSError:
                self._known = ()
        return self._known


def host_of(url: Url) -> str:
    """The host name in lower case, without a final dot. An IPv6 address is without its brackets."""
    return (url.host_str or "").rstrip(".").strip("[]")


def _is_delivery(host: str) -> bool:
    return host == DELIVERY or host.endswith("." + DELIVERY)


def _literal(host: str) -> Address | None:
    """The host as an IP address; None if it is a name. The URL parser has already normalized the address's spelling."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def _proxy(url: Url) -> str:
    """The proxy for the URL by this machine's settings; empty for none. A SOCKS proxy is set to look up host names."""
    if is_loopback(host_of(url)):
        return ""
    if sys.platform == "linux" and not any(name.lower().endswith("_proxy") for name in os.environ):
        return ""
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - slow to import, and rarely needed

    proxies = getproxies()
    text = proxies.get(url.scheme) or proxies.get("all") or ""
    if not text or proxy_bypass(host_of(url)):
        return ""
    try:
        proxy = Url(text if "://" in text else f"http://{text}")
    except ValueError:
        return ""  # the HTTP library ignores a malformed proxy too
    scheme = _LOOKS_UP.get(proxy.scheme)
    return str(proxy.with_scheme(scheme)) if scheme else ""
