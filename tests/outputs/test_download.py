"""Downloading outputs over real HTTP, from a server with faults."""

from __future__ import annotations

import asyncio
import errno
import gzip
import hashlib
import os
import random
import stat
import sys
import zlib
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from replicate_job.errors import NoAnswerError, NotSentError, OutputError, OutputExpiredError
from replicate_job.http import shown
from replicate_job.outputs.discover import OutputFile
from replicate_job.outputs.download import SavedFile, wait
from replicate_job.outputs.download import save as save_into
from replicate_job.outputs.folder import Folder
from replicate_job.outputs.http import HttpFetch, HttpResponse
from replicate_job.outputs.reach import Reach

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from replicate_job.outputs.download import Fetch

CONTENT = hashlib.shake_256(b"a picture").digest(300_000)


class Fault:
    """A fault of one response."""

    def __init__(  # noqa: PLR0913 - one argument for each kind of fault
        self,
        status: int = 0,
        *,
        cut: int | None = None,
        headers: Mapping[str, str | None] | None = None,
        body: bytes | None = None,
        chunked: bool = False,
        whole: bool = False,
        hold: asyncio.Event | None = None,
    ) -> None:
        self.status, self.cut, self.headers, self.body = status, cut, headers or {}, body
        self.chunked, self.whole, self.hold = chunked, whole, hold


class Files:
    """Serves ``content`` at any path, with ranges and an ETag. Each request uses up one of ``faults``."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content, self.etag = content, '"one"'
        self.faults: deque[Fault] = deque()
        self.choose: Callable[[], Fault] | None = None
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.open = self.most = 0
        self.url = ""
        self._asked = asyncio.Condition()
        self._answering: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Files]:
        async with await asyncio.start_server(self._answer, "127.0.0.1", 0) as server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield self
            for task in self._answering:
                task.cancel()
            await asyncio.gather(*self._answering, return_exceptions=True)

    async def wait_for(self, requests: int) -> None:
        async with self._asked:
            await self._asked.wait_for(lambda: len(self.requests) >= requests)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most = max(self.most, self.open)
        if task := asyncio.current_task():
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            self.requests.append((head[0].split(" ")[1], headers))
            async with self._asked:
                self._asked.notify_all()
            fault = self.faults.popleft() if self.faults else self.choose() if self.choose else Fault()
            await self._send(writer, headers, fault)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()  # the client reads no more
            raise
        finally:
            self.open -= 1
            writer.close()

    async def _send(self, writer: asyncio.StreamWriter, asked: dict[str, str], fault: Fault) -> None:
        start = 0
        if "range" in asked and asked.get("if-range") == self.etag and not fault.whole:
            start = int(asked["range"].removeprefix("bytes=").removesuffix("-"))
        body = self.content[start:] if fault.body is None else fault.body
        answer: dict[str, str | None] = {"content-length": str(len(body)), "etag": self.etag, "connection": "close"}
        if start:
            answer["content-range"] = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
        if fault.chunked:
            answer |= {"content-length": None, "transfer-encoding": "chunked"}
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        answer |= fault.headers
        lines = [f"HTTP/1.1 {fault.status or (206 if start else 200)} X"]
        lines += [f"{name}: {value}" for name, value in answer.items() if value is not None]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body[: fault.cut])
        await writer.drain()
        if fault.hold:
            await fault.hold.wait()


async def save(files: Sequence[OutputFile], folder: Path, fetch: Fetch, **options: Any) -> list[SavedFile]:
    return await save_into(files, Folder(folder), fetch, **options)


@pytest.fixture
async def files() -> AsyncIterator[Files]:
    async with Files().serve() as server:
        yield server


@pytest.fixture
async def fetch() -> AsyncIterator[HttpFetch]:
    async with HttpFetch(Reach("http://127.0.0.1")) as client:
        yield client


class Sleeps(list[float]):
    """A ``sleep`` that returns at once and records the seconds."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


def outputs(*urls: str) -> list[OutputFile]:
    return [OutputFile((index,), url) for index, url in enumerate(urls)]


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_file_is_saved_completely_with_its_size_and_hash(
    files: Files, fetch: HttpFetch, tmp_path: Path
) -> None:
    folder, url = tmp_path / "new" / "folder", f"{files.url}/a/out.webp?sig=1"

    (saved,) = await save([OutputFile((), url)], folder, fetch)

    assert saved == SavedFile(folder / "output.webp", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), url)
    assert saved.path.read_bytes() == CONTENT
    assert listing(folder) == ["output.webp"]


async def test_requests_have_no_credentials_and_no_referer_and_ask_for_uncompressed_bytes(
    files: Files, fetch: HttpFetch, tmp_path: Path
) -> None:
    files.faults.append(Fault(302, headers={"location": "/elsewhere.png"}))

    await save(outputs(f"{files.url}/out"), tmp_path, fetch)

    assert [path for path, _ in files.requests] == ["/out", "/elsewhere.png"]
    for _, headers in files.requests:
        assert headers["accept-encoding"] == "identity"
        assert not {"authorization", "cookie", "referer"} & headers.keys()


async def test_a_broken_download_continues_where_it_broke(files: Files, fetch: HttpFetch, tmp_path: Path) -> None:
    files.faults += [Fault(cut=100_000), Fault(cut=50_000), Fault(cut=0)]

    (saved,) = await save(outputs(f"{files.url}/a.png"), tmp_path, fetch, sleep=Sleeps())

    assert saved.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert saved.path.read_bytes() == CONTENT
    assert [headers.get("range") for _, headers in files.requests] == [
        None,
        "bytes=100000-",
        "bytes=150000-",
        "bytes=150000-",
    ]
    assert {headers.get("if-range") for _, headers in files.requests[1:]} == {'"one"'}


async def test_the_download_of_a_file_starts_over_if_the_server_ignores_ranges(
    files: Files, fetch: HttpFetch, tmp_path: Path
) -> None:
    files.faults += [Fault(cut=100_000), Fault(whole=True)]

    (saved,) = await save(outputs(f"{files.url}/a.png"), tmp_path, fetch, sleep=Sleeps())

    assert saved.path.read_bytes() == CONTENT
    assert saved.sha256 == hashlib.sha256(CONTENT).hexdigest()


async def test_the_download_of_a_file_that_changed_between_two_requests_starts_over(
    files: Files, fetch: HttpFetch, tmp_path: Path
) -> None:
    class Changing(Sleeps):
        async def __call__(self, seconds: float) -> None:
            await super().__call__(seconds)
            files.etag, files.content = '"two"', b"new" * 50_000

    files.faults.append(Fault(cut=100_000))

    (saved,) = await save(outputs(f"{files.url}/a.png"), tmp_path, fetch, sleep=Changing())

    assert saved.path.read_bytes() == b"new" * 50_000


async def test_after_a_partial_response_with_another_etag_the_download_starts_over(
    files: Files, fetch: HttpFetch, tmp_path: Path
) -> None:
    """The host ignores If-Range: it sends the rest of its present file, which has the same length."""
    new = bytes(reversed(CONTENT))
    rest = {"etag": '"two"', "content-range": f"bytes 100000-{len(new) - 1}/{len(new)}"}
    files.faults += [Fault(cut=100_000), Fault(206, body=new[100_000:], headers=rest)]
    files.faults.append(Fault(body=new, headers={"etag": '"two"'}, whole=True))

    (saved,) = await save(outputs(f"{files.url}/a.png"), tmp_path, fetch, sleep=Sleeps())

    assert saved.path.read_bytes() == new


async def test_after_a_partial_response_longer_than_its_range_the_download_starts_over(
    files: Files, fetch: HttpFetch, tmp_path: Path
) -> None:
    rest = {"content-range": f"bytes 100000-199999/{len(CONTENT)}"}
    files.faults += [Fault(cut=100_000), Fault(206, body=b"x" * 200_000, headers=rest), Fault()]

    (saved,) = await save(outputs(f"{files.url}/a.png"), tmp_path, fetch, sleep=Sleeps())

    assert saved.path.read_bytes() == CONTENT


async def test_a_partial_response_without_a_total_length_does_not_end_the_download(
    files: Files, fetch: HttpFetch, tmp_path: Path
) -> None:
    end = len(CONTENT)
    part = Fault(206, body=CONTENT[200_000:250_000], headers={"content-range": "bytes 200000-249999/*"})
    last = Fault(206, body=CONTENT[250_000:], headers={"content-range": f"bytes 250000-{end - 1}/*"})
    over = Fault(416, body=b"", headers={"content-range": f"bytes */{end}"})
    files.faults += [Fault(chunked=True, cut=200_007), part, last, over]

    (saved,) = await save(outputs(f"{files.url}/a.png"), tmp_path, fetch, sleep=Sleeps())

    assert saved.path.read_bytes() == CONTENT
    assert files.requests[-1][1]["range"] == f"bytes={end}-"


PACKED = {
    "gzip": gzip.compress(CONTENT),
    "x-gzip": gzip.compress(CONTENT[:1000]) + gzip.compress(CONTENT[1000:]) + bytes(8),
    "deflate": zlib.compress(CONTENT),
    "Deflate": zlib.compress(CONTENT)[2:-4],
}
PICTURE = b"RIFF\x1a\0\0\0WEBP" + b"p" * 3000
FOREIGN = {
    "br": b"\x1b\xc3\x0b\xf8\x9d\tv\xec:\x88,\xe3\xa6\x04\x90\xba*!\xa3*Jj\r#(8\x05\xcbk\x05\x00\x02\xb48n\x00`\x1a",
    "zstd": b"(\xb5/\xfd`\xc4\n\xa5\x00\x00hRIFF\x1a\x00\x00\x00WEBPp\x01\x00\xb4\xf3\xc1\x17",
}


@pytest.mark.parametrize("coding", PACKED)
async def test_a_file_that_the_host_compressed_without_being_asked_is_decoded(
    coding: str, files: Files, fetch: HttpFetch, tmp_path: Path
) -> None:
    packed = Fault(body=PACKED[coding], headers={"content-encoding": coding})
    files.faults += [Fault(body=packed.body, headers=packed.headers, cut=1000), packed]

    (saved,) = await save(outputs(f"{files.url}/a.png"), tmp_path, fetch, sleep=Sleeps())

    assert saved.path.read_bytes() == CONTENT
    assert saved.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert not any("range" in headers for _, headers in files.requests), "what is kept is not what the host counts"


@pytest.mark.parametrize("coding", FOREIGN)
async def test_a_response_in_an_encoding_that_only_the_http_library_decodes_is_requested_again(
    coding: str, files: Files, fetch: HttpFetch, tmp_path: Path
) -> None:
    body, headers = FOREIGN[coding], {"content-encoding": coding}
    whole, cut = Fault(body=body, headers=headers), Fault(body=body, headers=headers, cut=len(body) - 3)
    files.faults += [whole, cut, whole, whole]

    (saved,) = await save(outputs(f"{files.url}/a.webp"), tmp_path, fetch, sleep=Sleeps())

    assert saved.path.read_bytes() == PICTURE
    assert len(files.requests) == 4
    assert {headers["accept-encoding"] for _, headers in files.requests} == {"identity"}


async def test_a_file_whose_encoding_changes_between_two_responses_is_decoded(
    files: Files, fetch: HttpFetch, tmp_path: Path
) -> None:
    packed = Fault(body=PACKED["gzip"], headers={"content-encoding": "gzip"})
    files.faults += [Fault(body=FOREIGN["br"], headers={"content-encoding": "br"}), packed]

    (saved,) = await save(outputs(f"{files.url}/a.png"), tmp_path, fetch, sleep=Sleeps())

    assert saved.path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", PACKED["gzip"][:-9]),
        ("gzip", PACKED["gzip"][:5000] + b"damaged" + PACKED["gzip"][5007:]),
        ("gzip", CONTENT),
        ("gzip", b""),
        ("deflate", PACKED["deflate"][:-2]),
        ("br", FOREIGN["br"][:-3]),
        ("zstd", b"not that"),
    ],
)
async def test_a_body_that_cannot_be_decoded_completely_makes_the_download_fail(
    coding: str, body: bytes, files: Files, fetch: HttpFetch, tmp_path: Path
) -> None:
    files.choose = lambda: Fault(body=body, headers={"content-encoding": coding})

    with pytest.raises(OutputError, match=r"could not be fetched"):
        await save(outputs(f"{files.url}/a.png"), tmp_path, fetch, sleep=Sleeps(), attempts=2)

    assert listing(tmp_path) == []


PAGE = b"<!DOCTYPE html><title>Blocked by policy</title>"
PROBLEM = b'{"detail": "blocked by policy"}'
DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"


@pytest.mark.parametrize("body", [PAGE, PROBLEM, DENIED])
@pytest.mark.parametrize("name", ["a.png", "a.mp4", "a.safetensors", "a.tar.gz", "a.glb", "a.txt", "a.csv"])
async def test_a_web_page_in_place_of_a_file_is_requested_again(
    name: str, body: bytes, files: Files, fetch: HttpFetch, tmp_path: Path
) -> None:
    kinds = {PAGE: "text/html; charset=utf-8", PROBLEM: "application/json", DENIED: "application/xml"}
    files.faults += [Fault(body=body, headers={"content-type": kinds[body]})] * 2

    (saved,) = await save(outputs(f"{files.url}/{name}"), tmp_path, fetch, sleep=Sleeps())

    assert saved.path.read_bytes() == CONTENT
    assert len(files.requests) == 3


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", None])
async def test_a_web_page_that_stays_in_place_of_a_file_makes_the_download_fail(
    kind: str | None, files: Files, fetch: HttpFetch, tmp_path: Path
) -> None:
    files.choose = lambda: Fault(body=PAGE, headers={"content-type": kind})

    with pytest.raises(OutputError, match=r"3 requests without a new byte: a web page came in place of a \.png file"):
        await save(outputs(f"{files.url}/a.png"), tmp_path, fetch, sleep=Sleeps(), attempts=3)

    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "kind", "body"),
    [
        ("a.html", "text/html", PAGE),
        ("a.htm", "text/html", PAGE),
        ("a.json", "application/json", PROBLEM),
        ("a.gltf", "application/json", PROBLEM),
        ("a.geojson", "application/json", PROBLEM),
        ("a.jsonl", "application/json", PROBLEM),
        ("a.xml", "application/xml", DENIED),
        ("a.svg", "image/svg+xml", b"<svg/>"),
        ("a.txt", "text/plain", PAGE),
        ("a.md", "text/plain", PROBLEM),
        ("a", "text/html", PAGE),
        ("a", "application/json", PROBLEM),
        ("a.bin", "text/html", PAGE),
        ("a.php", "text/html", PAGE),
        ("a.png", "text/html", b"\x89PNG\r\n\x1a\n"),
        ("a.png", "text/html", b"\0\1\2"),
    ],
)
async def test_a_web_page_that_is_the_output_is_saved(  # noqa: PLR0913, PLR0917 - fixtures and parameters
    name: str, kind: str, body: bytes, files: Files, fetch: HttpFetch, tmp_path: Path
) -> None:
    files.content = body
    files.faults.append(Fault(headers={"content-type": kind}))

    (saved,) = await save(outputs(f"{files.url}/{name}"), tmp_path, fetch)

    assert saved.path.read_bytes() == body
    assert len(files.requests) == 1


async def test_without_a_validator_a_broken_download_starts_over(
    files: Files, fetch: HttpFetch, tmp_path: Path
) -> None:
    files.faults += [Fault(cut=100_000, headers={"etag": None}), Fault()]

    (saved,) = await save(outputs(f"{files.url}/a.png"), tmp_path, fetch, sleep=Sleeps())

    assert saved.path.read_bytes() == CONTENT
    assert "range" not in files.requests[1][1]


async def test_all_files_are_complete_although_a_third_of_the_transfers_break(
    files: Files, fetch: HttpFetch, tmp_path: Path
) -> None:
    chance = random.Random(3)  # noqa: S311 - which transfers break, the same in every run
    files.choose = lambda: Fault(cut=chance.randrange(len(CONTENT))) if chance.random() < 0.3 else Fault()

    saved = await save(outputs(*[f"{files.url}/{n}.png" for n in range(40)]), tmp_path, fetch, sleep=Sleeps())

    assert {one.sha256 for one in saved} == {hashlib.sha256(CONTENT).hexdigest()}
    assert len({one.path for one in saved}) == len(listing(tmp_path)) == 40
    assert files.most <= 4


async def test_a_chunked_response_is_complete_only_at_its_last_chunk(
    files: Files, fetch: HttpFetch, tmp_path: Path
) -> None:
    files.faults += [Fault(chunked=True, cut=200_000), Fault(chunked=True)]

    (saved,) = await save(outputs(f"{files.url}/a.png"), tmp_path, fetch, sleep=Sleeps())

    assert saved.path.read_bytes() == CONTENT
    assert len(files.requests) == 2


async def test_an_empty_file_is_saved(files: Files, fetch: HttpFetch, tmp_path: Path) -> None:
    files.content = b""

    (saved,) = await save(outputs(f"{files.url}/a.txt"), tmp_path, fetch)

    assert (saved.size, saved.path.read_bytes()) == (0, b"")


async def test_a_request_to_a_busy_server_is_repeated_after_the_wait_that_the_server_names(
    files: Files, fetch: HttpFetch, tmp_path: Path
) -> None:
    sleeps = Sleeps()
    files.faults += [Fault(429, headers={"retry-after": "7"}), Fault(503), Fault(500, headers={"retry-after": "9999"})]

    (saved,) = await save(outputs(f"{files.url}/a.png"), tmp_path, fetch, sleep=sleeps)

    assert saved.path.read_bytes() == CONTENT
    assert sleeps == [7, wait(2, None), 30]


@pytest.mark.parametrize("status", [404, 410])
async def test_a_deleted_file_raises_an_expired_error_without_retries(
    status: int, files: Files, fetch: HttpFetch, tmp_path: Path
) -> None:
    files.faults.append(Fault(status))

    with pytest.raises(OutputExpiredError, match=r"/a\.png is gone .*an hour after the end$"):
        await save(outputs(f"{files.url}/a.png?signature=secret"), tmp_path, fetch)

    assert len(files.requests) == 1
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault(403),
        Fault(204, body=b""),
        Fault(headers={"content-encoding": "compress"}),
        Fault(302, headers={"location": "/x"}),
    ],
)
async def test_a_permanent_failure_raises_an_error_without_retries(
    fault: Fault, files: Files, fetch: HttpFetch, tmp_path: Path
) -> None:
    files.choose = lambda: fault

    with pytest.raises(OutputError) as caught:
        await save(outputs(f"{files.url}/a.png?signature=secret"), tmp_path, fetch, sleep=Sleeps())

    assert not isinstance(caught.value, OutputExpiredError)
    assert "secret" not in str(caught.value)
    assert listing(tmp_path) == []
    assert len(files.requests) == (11 if fault.status == 302 else 1)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(502),
        Fault(cut=1000, whole=True),
        Fault(206, headers={"content-range": "bytes 5-9/10"}),
        Fault(416),
        Fault(cut=0),
    ],
)
async def test_a_download_without_progress_is_given_up(
    fault: Fault, files: Files, fetch: HttpFetch, tmp_path: Path
) -> None:
    sleeps = Sleeps()
    files.choose = lambda: fault

    with pytest.raises(OutputError, match="3 requests without a new byte"):
        await save(outputs(f"{files.url}/a.png"), tmp_path, fetch, sleep=sleeps, attempts=3)

    assert len(files.requests) <= 4
    assert listing(tmp_path) == []


async def test_a_download_with_slow_progress_is_not_given_up(files: Files, fetch: HttpFetch, tmp_path: Path) -> None:
    files.faults += [Fault(cut=10_000)] * 25

    (saved,) = await save(outputs(f"{files.url}/a.png"), tmp_path, fetch, sleep=Sleeps(), attempts=2)

    assert saved.path.read_bytes() == CONTENT


async def test_a_host_that_refuses_connections_raises_an_error_after_some_retries(
    fetch: HttpFetch, tmp_path: Path
) -> None:
    async with Files().serve() as closed:
        url = f"{closed.url}/a.png"

    with pytest.raises(OutputError, match=r"2 requests without a new byte: .*no connection"):
        await save(outputs(url), tmp_path, fetch, sleep=Sleeps(), attempts=2)


async def test_a_file_that_is_lost_does_not_stop_the_other_downloads(
    files: Files, fetch: HttpFetch, tmp_path: Path
) -> None:
    files.faults.append(Fault(404))

    with pytest.raises(OutputExpiredError) as caught:
        await save([OutputFile((), f"{files.url}/a"), *outputs("data:,a", "data:,b")], tmp_path, fetch)

    assert [one.path.name for one in caught.value.kept] == listing(tmp_path) == ["output-0.txt", "output-1.txt"]
    assert [one.sha256 for one in caught.value.kept] == [hashlib.sha256(word).hexdigest() for word in (b"a", b"b")]


async def test_several_errors_are_raised_as_one_error_with_their_number(
    files: Files, fetch: HttpFetch, tmp_path: Path
) -> None:
    urls = [f"{files.url}/a", "data:;base64,*", f"{files.url}/b"]
    files.choose = lambda: Fault(410)

    with pytest.raises(OutputError, match=r"^output-1 cannot be read: .*\(and 2 more\)$") as caught:
        await save(outputs(*urls), tmp_path, fetch)

    assert not isinstance(caught.value, OutputExpiredError)
    with pytest.raises(OutputExpiredError, match=r"\(and 1 more\)$"):
        await save(outputs(urls[0], urls[2]), tmp_path, fetch)


async def test_no_file_name_or_header_from_the_server_leads_out_of_the_folder(
    files: Files, fetch: HttpFetch, tmp_path: Path
) -> None:
    bad = {"content-disposition": 'attachment; filename="../../evil.sh"', "content-type": "image/png"}
    files.choose = lambda: Fault(headers=bad)
    urls = [
        f"{files.url}/{path}" for path in ("../../x", "a" * 300, "same.png", "same.png", "..%2f..%2fetc%2fx.png", "")
    ]

    saved = await save(outputs(*urls), tmp_path / "in", fetch)

    assert [one.path.name for one in saved] == [f"output-{n}.png" for n in range(6)]
    assert listing(tmp_path) == ["in"]
    assert listing(tmp_path / "in") == sorted(one.path.name for one in saved)


async def test_a_data_url_is_decoded_into_a_file(fetch: HttpFetch, tmp_path: Path) -> None:
    (saved,) = await save(outputs("data:image/png;base64,aGVsbG8="), tmp_path, fetch)

    assert saved.path == tmp_path / "output-0.png"
    assert saved.path.read_bytes() == b"hello"
    assert saved.url == "data:image/png;base64"


async def test_saving_an_output_again_replaces_the_file(files: Files, fetch: HttpFetch, tmp_path: Path) -> None:
    (tmp_path / "output-0.png").write_bytes(b"half of an earlier one")

    (saved,) = await save(outputs(f"{files.url}/a.png"), tmp_path, fetch)

    assert saved.path.read_bytes() == CONTENT
    assert listing(tmp_path) == ["output-0.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
async def test_a_saved_file_has_the_usual_permissions(fetch: HttpFetch, tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    usual.touch()

    (saved,) = await save(outputs("data:,x"), tmp_path, fetch)

    assert stat.S_IMODE(saved.path.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)


async def test_the_error_names_a_folder_that_cannot_be_made(fetch: HttpFetch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(OutputError, match=r"the folder .*file/in cannot be made: Not a directory$"):
        await save(outputs("data:,x"), tmp_path / "file" / "in", fetch)


async def test_a_folder_with_the_name_of_the_file_raises_an_error(fetch: HttpFetch, tmp_path: Path) -> None:
    (tmp_path / "output-0.txt").mkdir()

    with pytest.raises(OutputError, match=r"^output-0 cannot be written in .*: Is a directory$"):
        await save(outputs("data:,x"), tmp_path, fetch)

    assert listing(tmp_path) == ["output-0.txt"]


SAVE = """
import asyncio, resource, signal, sys
from pathlib import Path
from replicate_job.errors import OutputError
from replicate_job.outputs.discover import OutputFile
from replicate_job.outputs.download import save
from replicate_job.outputs.folder import Folder
from replicate_job.outputs.http import HttpFetch
from replicate_job.outputs.reach import Reach

url, folder, limit = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])

async def main():
    async with HttpFetch(Reach("http://127.0.0.1")) as fetch:
        await save([OutputFile((), url)], Folder(folder), fetch)

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    asyncio.run(main())
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
except OutputError as error:
    print(error)
"""


async def save_in_a_process(url: str, folder: Path, limit: int) -> str:
    """Save in another process, and return what it printed: the error, or by how many kB its memory grew."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SAVE, url, str(folder), str(limit), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return out.decode().strip()


async def test_a_full_disk_raises_an_error_and_leaves_no_file(files: Files, tmp_path: Path) -> None:
    """A limit on file sizes simulates a full disk: write(2) fails in the middle of the file."""
    said = await save_in_a_process(f"{files.url}/a.png", tmp_path, limit=100_000)

    assert said == f"output cannot be written in {tmp_path}: {os.strerror(errno.EFBIG)}"
    assert listing(tmp_path) == []
    assert len(files.requests) == 1


async def test_a_cancelled_download_leaves_no_file(files: Files, fetch: HttpFetch, tmp_path: Path) -> None:
    hold = asyncio.Event()
    files.choose = lambda: Fault(cut=1000, hold=hold)
    saving = asyncio.create_task(save(outputs(*[f"{files.url}/{n}.png" for n in range(6)]), tmp_path, fetch))
    await files.wait_for(4)
    assert len(listing(tmp_path)) == 4, "four at a time"
    assert all(name.startswith(".") for name in listing(tmp_path))

    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    hold.set()

    assert listing(tmp_path) == []


async def test_an_unexpected_exception_is_not_raised_as_an_output_error(tmp_path: Path) -> None:
    def broken(url: str, headers: Mapping[str, str]) -> AbstractAsyncContextManager[HttpResponse]:  # noqa: ARG001 - the protocol's names
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await save(outputs("https://replicate.delivery/a", "data:;base64,*"), tmp_path, broken)

    assert listing(tmp_path) == []


async def test_a_transport_error_without_a_message_is_not_the_end_of_the_file(tmp_path: Path) -> None:
    def mute(url: str, headers: Mapping[str, str]) -> AbstractAsyncContextManager[HttpResponse]:  # noqa: ARG001 - the protocol's names
        raise NoAnswerError

    with pytest.raises(OutputError, match="2 requests without a new byte: the transfer broke"):
        await save(outputs("https://replicate.delivery/a"), tmp_path, mute, sleep=Sleeps(), attempts=2)


@pytest.mark.long
async def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    block, blocks = bytes(100_000), 1000

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (len(block) * blocks))
        for _ in range(blocks):
            writer.write(block)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        grown = await save_in_a_process(f"http://127.0.0.1:{port}/a.bin", tmp_path, limit=10**9)

    assert (tmp_path / "output.bin").stat().st_size == len(block) * blocks
    assert int(grown) < 30_000, "kB, for a file of 100,000"


def test_waits_between_retries_double_up_to_half_a_minute() -> None:
    assert [wait(barren, None) for barren in range(9)] == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert wait(0, 5) == 5
    assert wait(0, 10**9) == 30


def test_a_url_in_a_message_is_short_and_has_no_query() -> None:
    assert shown("https://a/b.png?X-Signature=secret") == "https://a/b.png"
    assert shown("https://user:secret@a/b@c.png") == "https://a/b@c.png"
    assert len(shown("https://a/" + "b" * 5000)) < 250


class TestHttpFetch:
    @pytest.mark.parametrize("turns", range(8))
    async def test_a_cancellation_while_the_response_arrives_is_never_lost(
        self, turns: int, files: Files, fetch: HttpFetch
    ) -> None:
        hold = asyncio.Event()
        files.choose = lambda: Fault(cut=1000, hold=hold)

        async def read() -> None:
            async with fetch(files.url, {}) as response:
                async for _ in response.chunks():
                    pass

        reading = asyncio.create_task(read())
        await files.wait_for(1)
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        ended, _ = await asyncio.wait([reading], timeout=5)
        hold.set()

        assert ended
        assert reading.cancelled()

    async def test_a_failed_connection_raises_a_not_sent_error(self, fetch: HttpFetch) -> None:
        async with Files().serve() as closed:
            url = closed.url
        with pytest.raises(NotSentError, match="no connection"):
            async with fetch(url, {}):
                pass

    async def test_a_server_that_closes_the_connection_without_a_response_raises_a_no_answer_error(
        self, fetch: HttpFetch
    ) -> None:
        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(NoAnswerError, match=r"the connection broke"):
                async with fetch(f"http://127.0.0.1:{port}/?secret", {}):
                    pass

    @pytest.mark.parametrize("url", ["http://[", "", "no address", "http://", "https://a b/c"])
    async def test_a_malformed_url_raises_an_output_error(self, url: str, fetch: HttpFetch) -> None:
        with pytest.raises(OutputError, match="is not an address that can be fetched"):
            async with fetch(url, {}):
                pass

    async def test_too_many_redirects_raise_an_output_error(self, files: Files, fetch: HttpFetch) -> None:
        files.choose = lambda: Fault(302, headers={"location": "/again?secret"})
        with pytest.raises(OutputError, match="leads nowhere") as caught:
            async with fetch(files.url, {}):
                pass
        assert "secret" not in str(caught.value)

    async def test_hosts_on_this_machine_are_requested_without_a_proxy(
        self, files: Files, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with Files().serve() as proxy:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, proxy.url)
            for name in ("NO_PROXY", "no_proxy"):
                monkeypatch.delenv(name, raising=False)
            async with HttpFetch(Reach("http://127.0.0.1")) as fetch:
                for host in (files.url, files.url.replace("127.0.0.1", "localhost")):
                    async with fetch(f"{host}/a", {}) as response:
                        assert response.status == 200
                async with fetch("http://replicate.delivery/b", {}) as response:
                    assert response.status == 200

        assert [path for path, _ in files.requests] == ["/a", "/a"]
        assert [path for path, _ in proxy.requests] == ["http://replicate.delivery/b"]

    async def test_response_headers_are_read_with_lower_case_names(self, files: Files, fetch: HttpFetch) -> None:
        files.faults.append(Fault(headers={"X-Some-Header": "Yes"}))
        async with fetch(files.url, {}) as response:
            assert response.headers["x-some-header"] == "Yes"
            assert response.headers["etag"] == '"one"'
