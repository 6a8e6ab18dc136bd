"""Downloads from servers that stall, break off, know ranges or not, refuse, or send another file."""

from __future__ import annotations

import errno
import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from suite.core.errors import UserError
from suite.data import fetch
from suite.data.fetch import DownloadError, download_file

CONTENT = bytes(range(256)) * 1_000
MD5 = hashlib.md5(CONTENT).hexdigest()


@dataclass
class Server:
    """A server of one file.

    Attributes:
        sends: of how many bytes the answers to the first requests are, before they break off; then all of it.
        stalls: what breaks off doesn't close the connection: the server says nothing more.
        ranges: whether it knows them.
        status: of its answers, where it refuses.
        asked: the Range header of each request, "" without one.
    """

    address: str = ""
    content: bytes = CONTENT
    sends: list[int] = field(default_factory=list)
    stalls: bool = False
    ranges: bool = True
    status: list[int] = field(default_factory=list)
    says_length: bool = True
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    files = Server()
    ended = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers["Range"] or ""
            files.asked.append(wanted)
            if files.status:
                self.send_error(files.status.pop(0))
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and files.ranges else 0
            if start >= len(files.content):
                self.send_error(416)
                return
            rest = files.content[start:]
            self.send_response(206 if start else 200)
            if files.says_length:
                self.send_header("Content-Length", str(len(rest)))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(files.content) - 1}/{len(files.content)}")
            self.end_headers()
            breaks_off = files.sends.pop(0) if files.sends else None
            self.wfile.write(rest[:breaks_off])
            self.wfile.flush()
            if files.stalls and breaks_off is not None:
                ended.wait()

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        served.daemon_threads = True
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        files.address = f"http://127.0.0.1:{served.server_port}/archive.bin"
        yield files
        ended.set()
        served.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were slept, had they been slept."""
    slept: list[float] = []
    monkeypatch.setattr(fetch, "sleep", slept.append)
    return slept


def download(server: Server, folder: Path, timeout: float = 5.0) -> Path:
    file = folder / "new" / "archive.bin"
    download_file(server.address, file, MD5, timeout=timeout)
    assert [path.name for path in file.parent.iterdir()] == ["archive.bin"]
    return file


def test_a_whole_file_takes_one_request(server: Server, tmp_path: Path, pauses: list[float]) -> None:
    assert download(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [""] and not pauses


def test_a_download_goes_on_where_it_broke_off(server: Server, tmp_path: Path, pauses: list[float]) -> None:
    server.sends = [200_000, 50_000, 0]
    assert download(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == ["", "bytes=200000-", "bytes=250000-", "bytes=250000-"]
    assert pauses == [1, 1, 2], "longer where nothing new came"


def test_a_server_without_ranges_is_asked_for_all_of_it_again(server: Server, tmp_path: Path) -> None:
    server.sends, server.ranges = [1_000, 2_000], False
    assert download(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == ["", "bytes=1000-", "bytes=2000-"]


@pytest.mark.timeout(30)
def test_a_server_that_stalls_is_left_and_asked_again(server: Server, tmp_path: Path) -> None:
    server.sends, server.stalls = [1_000], True
    assert download(server, tmp_path, timeout=0.2).read_bytes() == CONTENT
    assert server.asked == ["", "bytes=1000-"]


@pytest.mark.timeout(30)
def test_a_server_that_stalls_for_good_is_given_up(server: Server, tmp_path: Path, pauses: list[float]) -> None:
    server.sends, server.stalls = [0] * 9, True
    with pytest.raises(DownloadError, match=r"archive\.bin: the server sent nothing for 0\.1 seconds$"):
        download(server, tmp_path, timeout=0.1)
    assert len(server.asked) == fetch.ATTEMPTS and pauses == [1, 2, 4]


def test_progress_earns_more_attempts(server: Server, tmp_path: Path) -> None:
    server.sends = [100] * 3 * fetch.ATTEMPTS
    assert download(server, tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == 3 * fetch.ATTEMPTS + 1


def test_breaking_off_at_the_same_place_is_given_up(server: Server, tmp_path: Path) -> None:
    server.sends, server.ranges = [100] * 99, False
    with pytest.raises(DownloadError, match="the server broke off after 100 of 256,000 bytes"):
        download(server, tmp_path)
    assert len(server.asked) == fetch.ATTEMPTS


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (503, 4), (429, 4)])
def test_a_refusal_is_final_and_trouble_is_not(server: Server, tmp_path: Path, status: int, requests: int) -> None:
    server.status = [status] * 9
    with pytest.raises(DownloadError, match=rf"archive\.bin: the server answers {status} \("):
        download(server, tmp_path)
    assert len(server.asked) == requests
    server.status = [503, 503]
    assert download(server, tmp_path).read_bytes() == CONTENT


def test_a_file_that_has_become_shorter_is_begun_anew(server: Server, tmp_path: Path) -> None:
    partial = tmp_path / "new" / "archive.bin.part"
    partial.parent.mkdir()
    partial.write_bytes(CONTENT + b"more")
    assert download(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=256004-", ""]


def test_another_file_is_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(DownloadError, match=rf"{server.address} is another file than the published one.* not {MD5}$"):
        download(server, tmp_path)
    assert list((tmp_path / "new").iterdir()) == []


def test_a_length_that_isnt_said_is_no_trouble(server: Server, tmp_path: Path) -> None:
    server.says_length = False
    assert download(server, tmp_path).read_bytes() == CONTENT


def test_nobody_listens(tmp_path: Path, server: Server, pauses: list[float]) -> None:
    port = server.address.split(":")[2].split("/")[0]
    server.address = server.address.replace(port, "1")
    with pytest.raises(DownloadError, match="Connection refused"):
        download(server, tmp_path)
    assert len(pauses) == fetch.ATTEMPTS - 1


def test_a_full_disk_isnt_tried_again(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch, "_continue_download", fill)
    with pytest.raises(OSError, match="No space left"):
        download(server, tmp_path)


@pytest.mark.parametrize(
    "error", [DownloadError("http://a/b: refused"), OSError("full\ndisk"), EOFError(), ValueError("x")]
)
def test_failures_are_sentences_that_name_the_dataset(error: Exception, tmp_path: Path) -> None:
    def fail(root: Path) -> None:
        raise error

    with pytest.raises(
        UserError, match=r"^mnist: the download failed and nothing of it was kept \(.*try again$"
    ) as refusal:
        fetch._run_download("mnist", fail, tmp_path)
    assert "\n" not in str(refusal.value) and "()" not in str(refusal.value)
