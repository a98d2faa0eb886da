"""Downloads that break off go on where they ended, and only the right bytes are ever used."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from erlangen.datamodules.files.download import fetch
from erlangen.errors import UserError

DATA = bytes(range(256)) * 400
MD5 = hashlib.md5(DATA).hexdigest()


class Server(BaseHTTPRequestHandler):
    """Serves DATA with ranges; the server's `breaks` counts how many answers still end half way."""

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "bytes=0-")
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        self.server.asked.append(start)
        if start >= len(DATA):
            self.send_error(416)
            return
        rest = DATA[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if self.server.breaks:
            self.server.breaks -= 1
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)

    def log_message(self, *_) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.asked, server.breaks = [], 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def url(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}/file"


def test_a_file_is_fetched_once(tmp_path: Path, server, url: str) -> None:
    for _ in range(2):
        assert fetch(tmp_path / "new" / "file", url, MD5).read_bytes() == DATA
    assert server.asked == [0]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


def test_a_broken_download_is_refused_and_then_gone_on_with(tmp_path: Path, server, url: str) -> None:
    server.breaks = 1
    with pytest.raises(UserError, match="could not download .* or try again"):
        fetch(tmp_path / "file", url, MD5)
    assert not (tmp_path / "file").exists()
    assert fetch(tmp_path / "file", url, MD5).read_bytes() == DATA
    assert server.asked == [0, len(DATA) // 2]


def test_a_download_killed_just_before_its_end_is_not_made_again(tmp_path: Path, server, url: str) -> None:
    (tmp_path / "file.part").write_bytes(DATA)
    assert fetch(tmp_path / "file", url, MD5).read_bytes() == DATA
    assert server.asked == [len(DATA)]


def test_wrong_bytes_are_never_left_under_the_files_name(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match=f"MD5 {MD5}, should have {'0' * 32}"):
        fetch(tmp_path / "file", url, "0" * 32)
    assert list(tmp_path.iterdir()) == []


def test_a_file_put_there_by_hand_must_be_the_right_one(tmp_path: Path, server, url: str) -> None:
    (tmp_path / "file").write_bytes(DATA[:-1])
    with pytest.raises(UserError, match="remove it and get it again"):
        fetch(tmp_path / "file", url, MD5)
    assert server.asked == []


def test_no_network_ends_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"could not download http://127.0.0.1:9/file .* by hand") as caught:
        fetch(tmp_path / "file", "http://127.0.0.1:9/file", MD5)
    assert "\n" not in str(caught.value)
