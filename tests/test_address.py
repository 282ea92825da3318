"""Addresses that an input may name. The standard library's table of special addresses is the oracle."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.address import is_elsewhere, is_own, is_public, lookup

PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2a00:1450::1"]
NOT_PUBLIC = [
    *("127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "0.0.0.0"),  # noqa: S104 - an address that is tried
    *("169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "255.255.255.255"),
    *("224.0.0.1", "240.0.0.1", "198.18.0.1", "203.0.113.7"),
    *("::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "2001:db8::1", "::127.0.0.1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1"),
    *("64:ff9b:1::1.1.1.1", "2002:7f00:1::", "2002:101:101::", "2001:0:101:101::", "fe80::1%1", "4000::1"),
]
INSIDE = [
    ip_network(text) for text in ("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
]


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_local_private_and_special_addresses_are_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


@given(st.ip_addresses(v=4))
def test_no_special_ipv4_address_is_public(address: IPv4Address) -> None:
    special = (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or not address.is_global
    )
    assert not (special and is_public(address))


@given(st.ip_addresses(v=6))
def test_no_special_ipv6_address_is_public(address: IPv6Address) -> None:
    special = (
        address.is_private
        or address.is_link_local
        or address.is_site_local
        or address.is_multicast
        or address.is_reserved
        or not address.is_global
    )
    leads_elsewhere = address.ipv4_mapped or address in ip_network("64:ff9b::/96")
    assert leads_elsewhere or not (special and is_public(address))


@given(st.sampled_from(INSIDE).flatmap(lambda network: st.ip_addresses(network=network)))
def test_a_private_address_inside_an_ipv6_address_is_private(address: IPv4Address) -> None:
    number = int(address)
    forms = [number | 0xFFFF << 32, number | 0x64FF9B << 96, number << 80 | 0x2002 << 112, number]
    assert not any(is_public(IPv6Address(form)) for form in forms)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_inside_an_ipv6_address_decides(address: IPv4Address) -> None:
    for prefix in (0xFFFF << 32, 0x64FF9B << 96):
        assert is_public(IPv6Address(int(address) | prefix)) == is_public(address)


def test_the_addresses_of_this_machine_are_recognized() -> None:
    assert is_own(IPv4Address("127.0.0.1"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # nothing is sent
        try:
            probe.connect(("1.1.1.1", 9))
        except OSError:
            pass  # without a route there is no own address
        else:
            assert is_own(ip_address(probe.getsockname()[0]))


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_of_another_machine_is_not_one_of_this_machine(text: str) -> None:
    assert not is_own(ip_address(text))
    assert is_elsewhere(ip_address(text))


async def test_a_host_is_looked_up_and_an_address_is_returned_as_it_is() -> None:
    assert set(map(str, await lookup("localhost"))) <= {"127.0.0.1", "::1"}
    assert await lookup("10.1.2.3") == [IPv4Address("10.1.2.3")]
    assert await lookup("[::1]") == [IPv6Address("::1")]


@pytest.mark.parametrize("host", ["..", "a" * 64 + ".example", "no-such-host.invalid", ""])
async def test_a_malformed_host_raises_an_os_error(host: str) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - the class is the promise
        await lookup(host)
