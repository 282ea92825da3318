"""Hosts for downloads: no model can make this machine send requests to itself or to its private network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import IPv4Address, ip_address
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyreqwest.http import Url
from tests.outputs.test_download import Fault, Files

from replicate_job.address import Address, is_near, is_public
from replicate_job.errors import NotSentError, OutputError
from replicate_job.outputs.http import HttpFetch
from replicate_job.outputs.reach import Reach, Route

PUBLIC_API = "https://api.replicate.com/v1"
FORMS = [
    *("127.0.0.1", "2130706433", "0x7f.1", "017700000001", "127.1", "0", "[::1]", "[::]", "[::ffff:127.0.0.1]"),
    *("①②⑦.⓪.⓪.①", "127.0.0.1.", "user:password@127.0.0.1", "example.com@127.0.0.1"),
    *("169.254.169.254", "[fd00:ec2::254]", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "[fe80::1]"),
    *("[fc00::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "168.63.129.16", "255.255.255.255", "224.0.0.1"),
]


def names(**hosts: str) -> Callable[[str], Awaitable[list[Address]]]:
    """A look-up that knows these hosts and their addresses. Dots in the names are written as underscores."""

    async def find(host: str) -> list[Address]:
        try:
            return [ip_address(text) for text in hosts[host.replace(".", "_")].split()]
        except KeyError:
            raise OSError(f"{host} is unknown") from None

    return find


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
async def files() -> AsyncIterator[Files]:
    async with Files().serve() as server:
        yield server


async def refused(reach: Reach, url: str) -> bool:
    try:
        await reach.route(Url(url))
    except OutputError as error:
        assert "--allow-private-outputs" in str(error)  # noqa: PT017 - every refusal has to say this
        return True
    return False


@pytest.mark.parametrize("host", FORMS)
async def test_no_spelling_of_a_private_address_gets_a_request(host: str, files: Files) -> None:
    async with HttpFetch(Reach(PUBLIC_API, find=names(api_replicate_com="104.18.0.1"))) as fetch:
        with pytest.raises(OutputError, match="private network") as caught:
            async with fetch(f"http://{host}:{urlsplit(files.url).port}/a.png", {}):
                pass
    assert "password" not in str(caught.value)
    assert files.requests == []


@pytest.mark.parametrize("found", ["127.0.0.1", "1.1.1.1 127.0.0.1", "::1", "fd00:ec2::254", "100.100.100.200"])
async def test_a_host_with_a_private_address_is_refused(found: str) -> None:
    assert await refused(Reach(PUBLIC_API, find=names(evil_example=found)), "https://evil.example/a.png")


async def test_the_target_of_each_redirect_is_checked(files: Files) -> None:
    """The output's own host is allowed, because the API is on this machine too. The redirect's target is refused."""
    files.faults.append(Fault(302, headers={"location": f"http://localhost:{urlsplit(files.url).port}/b.png"}))
    async with HttpFetch(Reach(f"{files.url}/v1")) as fetch, fetch(f"{files.url}/a.png", {}) as response:
        assert response.status == 200
    files.faults.append(Fault(302, headers={"location": "http://169.254.169.254/latest/meta-data"}))
    async with HttpFetch(Reach(f"{files.url}/v1")) as fetch:
        with pytest.raises(OutputError, match=r"169\.254\.169\.254 is on this machine or in a private network"):
            async with fetch(f"{files.url}/a.png", {}):
                pass


async def test_a_delivery_host_that_redirects_to_this_machine_is_not_followed(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", files.url)
    files.faults.append(Fault(302, headers={"location": f"{files.url}/secret"}))
    async with HttpFetch(Reach(PUBLIC_API)) as fetch:
        with pytest.raises(OutputError, match=r"127\.0\.0\.1 is on this machine"):
            async with fetch("http://pbxt.replicate.delivery/a.png", {}):
                pass
    assert [path for path, _ in files.requests] == ["http://pbxt.replicate.delivery/a.png"]


@pytest.mark.parametrize(
    ("url", "location"),
    [("/a", "file:///etc/passwd"), ("/a", "http://["), ("/a", "ftp://127.0.0.1/x"), ("/a", "http://")],
)
async def test_a_redirect_to_a_malformed_url_is_not_followed(files: Files, url: str, location: str) -> None:
    files.faults.append(Fault(302, headers={"location": location}))
    async with HttpFetch(Reach(files.url)) as fetch:
        with pytest.raises(OutputError, match="leads nowhere"):
            async with fetch(files.url + url, {}):
                pass


@pytest.mark.parametrize("host", ["pinned.example", "PINNED.example.", "user:password@pinned.example"])
async def test_a_request_goes_to_the_address_that_was_checked(files: Files, host: str) -> None:
    """The name is looked up once, so a later change of it has no effect (DNS rebinding)."""
    looked_up: list[str] = []

    async def find(name: str) -> list[Address]:
        looked_up.append(name)
        return [ip_address("127.0.0.2"), ip_address("127.0.0.1")]

    port = urlsplit(files.url).port
    reach = Reach("http://127.0.0.1", find=find)
    async with HttpFetch(reach) as fetch, fetch(f"http://{host}:{port}/a.png", {}) as response:
        assert response.status == 200
    assert looked_up[0] == "pinned.example"
    ((_, headers),) = files.requests
    assert headers["host"] == f"pinned.example:{port}"
    assert "authorization" not in headers, "a user and a password in the address are not sent"


async def test_a_host_that_cannot_be_looked_up_raises_a_not_sent_error() -> None:
    async with HttpFetch(Reach(PUBLIC_API, find=names())) as fetch:
        with pytest.raises(NotSentError, match=r"no-host\.example cannot be looked up"):
            async with fetch("http://no-host.example/a.png", {}):
                pass


@pytest.mark.parametrize(
    ("api", "found", "output", "is_refused"),
    [
        ("http://127.0.0.1:5000/v1", "", "http://127.0.0.1:9/a", False),
        ("http://localhost:5000/v1", "", "http://[::1]:9/a", False),
        ("http://127.0.0.1:5000/v1", "", "http://10.1.2.3/a", False),
        ("http://127.0.0.1:5000/v1", "", "http://169.254.169.254/a", True),
        ("http://127.0.0.1:5000/v1", "", "http://[fd00:ec2::254]/a", True),
        ("http://api.corp/v1", "10.0.0.5", "http://10.1.2.3/a", False),
        ("http://api.corp/v1", "10.0.0.5", "http://192.168.1.1/a", True),
        ("http://api.corp/v1", "10.0.0.5", "http://127.0.0.1/a", True),
        ("http://api.corp/v1", "10.0.0.5", "http://169.254.169.254/a", True),
        ("http://api.corp/v1", "192.168.0.9", "http://192.168.1.1/a", False),
        ("http://api.corp/v1", "100.64.0.9", "http://100.99.0.1/a", False),
        ("http://api.corp/v1", "fd12::1", "http://[fd12::2]/a", False),
        ("http://api.corp/v1", "1.1.1.1", "http://10.1.2.3/a", True),
        ("http://api.corp/v1", "198.18.0.1", "http://api.corp/files/a", False),
        ("http://api.corp/v1", "198.18.0.1", "http://api.corp:8080/a", False),
        ("http://api.corp/v1", "198.18.0.1", "http://198.18.0.2/a", True),
        (PUBLIC_API, "1.1.1.1", "https://replicate.delivery/a", False),
        (PUBLIC_API, "1.1.1.1", "https://x.y.replicate.delivery./a", False),
        (PUBLIC_API, "1.1.1.1", "https://1.0.0.1/a", False),
    ],
)
async def test_private_hosts_are_allowed_only_if_the_api_is_in_the_same_network_or_on_this_machine(
    api: str,
    found: str,
    output: str,
    is_refused: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    known = {"api_corp": found, "api_replicate_com": found, "localhost": "127.0.0.1 ::1", "127_0_0_1": "127.0.0.1"}
    assert await refused(Reach(api, find=names(**known)), output) is is_refused
    assert not await refused(Reach(api, allow_private=True, find=names(**known)), output)


async def test_a_host_name_that_a_proxy_looks_up_is_not_looked_up_by_the_client(
    monkeypatch: pytest.MonkeyPatch, files: Files
) -> None:
    monkeypatch.setenv("http_proxy", files.url)
    monkeypatch.setenv("no_proxy", "near.example")
    reach = Reach(PUBLIC_API, find=names(near_example="10.0.0.1"))
    assert await reach.route(Url("http://inside.corp/a")) == Route(f"{files.url}/")
    assert await refused(reach, "http://near.example/a")
    assert await refused(reach, "http://10.0.0.1/a"), "there is nothing to look up"
    async with HttpFetch(reach) as fetch, fetch("http://inside.corp/a", {}) as response:
        assert response.status == 200
    assert [path for path, _ in files.requests] == ["http://inside.corp/a"]


@pytest.mark.parametrize(
    ("named", "expected"),
    [("proxy:1", "http://proxy:1/"), ("http://u:p@proxy", "http://u:p@proxy/"), ("socks5://p:1", "socks5h://p:1")],
)
async def test_with_a_socks_proxy_the_proxy_looks_up_host_names(
    monkeypatch: pytest.MonkeyPatch, named: str, expected: str
) -> None:
    monkeypatch.setenv("all_proxy", named)
    assert await Reach(PUBLIC_API, find=names()).route(Url("https://inside.corp/a")) == Route(expected)


@pytest.mark.parametrize("named", ["http://[", "ftp://proxy", "http://a b"])
async def test_a_malformed_proxy_is_ignored(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setenv("all_proxy", named)
    assert await refused(Reach(PUBLIC_API, find=names(inside_corp="10.0.0.1")), "https://inside.corp/a")


@given(st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_a_private_address_is_never_near_a_public_api(address: IPv4Address, api: IPv4Address) -> None:
    if is_public(api):
        assert not is_near(address, api)
