"""Downloads: sources that misbehave, interruptions, several processes at once."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from cnn_zoo.data import download
from cnn_zoo.data.download import default_root, fetch, md5_of, provide, read_checked
from cnn_zoo.errors import UserError


class Source(BaseHTTPRequestHandler):
    """A server whose /BEHAVIOUR/NAME sends its file NAME, well or badly."""

    def log_message(self, *_):
        pass

    def answer(self, status, length, body):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        behavior, name = self.path.strip("/").split("/")
        begin = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.server.requests.append((behavior, name, begin))
        body = self.server.files.get(name)
        if behavior == "missing" or body is None:
            self.send_error(404)
        elif behavior == "html":
            self.answer(200, 18, b"<html>sorry</html>")
        elif behavior == "other":
            self.answer(200, len(body), body[::-1])
        elif behavior == "cut":  # the connection ends in the middle
            self.answer(200, len(body), body[: len(body) // 2])
        elif behavior == "stalls":
            self.answer(200, len(body), body[: len(body) // 2])
            self.server.over.wait(20)
        elif behavior == "trickles":
            self.answer(200, len(body), b"")
            for i in range(len(body)):
                if self.server.over.wait(0.02):
                    break
                self.wfile.write(body[i : i + 1])
        elif behavior == "resumes" and begin >= len(body):
            self.send_error(416)
        elif behavior == "resumes" and begin:
            self.answer(206, len(body) - begin, body[begin:])
        else:  # a plain server ignores Range
            self.answer(200, len(body), body)


@pytest.fixture
def server(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Source)
    server.daemon_threads, server.handle_error = True, lambda *_: None  # the tests make clients leave early
    server.files, server.requests, server.over = {}, [], threading.Event()
    server.url = lambda behavior: f"http://127.0.0.1:{server.server_port}/{behavior}"
    monkeypatch.setattr(download, "STALL_SECONDS", 1.0)
    monkeypatch.delenv("CNN_ZOO_MIRROR", raising=False)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


BODY = np.random.default_rng(0).bytes(2_000)


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def get(server, root):
    """Fetch BODY as x.gz from sources of the named behaviors."""
    server.files["x.gz"] = BODY
    return lambda *behaviors: fetch("x.gz", md5_of(BODY), [server.url(name) for name in behaviors], root)


@pytest.mark.parametrize("bad", ["missing", "html", "other", "cut", "stalls", "trickles"])
def test_after_a_bad_source_the_next_is_tried(bad, get, server, root):
    assert get(bad, "plain") == BODY
    assert {behavior for behavior, *_ in server.requests} == {bad, "plain"}
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("missing", r"/missing/x.gz \(Not Found\)"),
        ("html", "it sends another file, with MD5"),
        ("other", "it sends another file, with MD5"),
        ("cut", "it ended after 1,000 of 2,000 bytes"),
        ("stalls", "timed out"),
        ("trickles", "it sends less than 65,536 bytes in 1.0 s"),
    ],
)
def test_the_message_says_why_a_source_failed(bad, reason, get, root):
    with pytest.raises(UserError, match=rf"x.gz is not in .* and could not be downloaded from .*{reason}"):
        get(bad)
    assert not (root / "x.gz").exists()


def test_the_message_names_every_source(get, server):
    with pytest.raises(UserError) as error:
        get("missing", "html")
    assert all(server.url(name) in str(error.value) for name in ("missing", "html"))


def test_a_source_without_end_cannot_fill_the_disk(get, monkeypatch):
    monkeypatch.setattr(download, "MAX_ARCHIVE_BYTES", 1_000)
    with pytest.raises(UserError, match="it sends more than 1,000 bytes"):
        get("plain")


def test_an_interrupted_download_is_continued(get, server):
    with pytest.raises(UserError, match="ended after 1,000 of 2,000 bytes"):
        get("cut")
    assert get("resumes") == BODY
    assert server.requests[-1] == ("resumes", "x.gz", 1_000)


LEFTOVERS = {
    "nothing": b"",
    "a wrong beginning": b"wrong from the start",
    "a beginning": BODY[:500],
    "the whole file": BODY,
    "more than the file": BODY + b"more",
}


@pytest.mark.parametrize("source", ["plain", "resumes"])
@pytest.mark.parametrize("leftover", LEFTOVERS)
def test_whatever_an_interrupted_download_left_the_file_comes_whole(leftover, source, get, root):
    (root / ".x.gz.part").write_bytes(LEFTOVERS[leftover])
    assert get(source) == BODY
    assert list(root.iterdir()) == []


def test_the_users_mirror_is_asked_first(get, server, monkeypatch):
    monkeypatch.setenv("CNN_ZOO_MIRROR", server.url("plain") + "/")
    assert get("missing") == BODY
    assert [behavior for behavior, *_ in server.requests] == ["plain"]


def test_a_mirror_that_is_no_url_is_a_source_that_fails(get, monkeypatch):
    monkeypatch.setenv("CNN_ZOO_MIRROR", "my mirror")
    assert get("plain") == BODY


def test_an_archive_in_the_folder_is_used_and_kept(get, server, root):
    (root / "x.gz").write_bytes(BODY)
    assert get("plain") == BODY
    assert server.requests == [] and (root / "x.gz").exists()


def test_a_damaged_archive_in_the_folder_is_refused(get, root):
    (root / "x.gz").write_bytes(BODY[:-1])
    with pytest.raises(UserError, match=r"x.gz is truncated or altered: its MD5 is .*; delete it and run again"):
        get("plain")


def test_of_several_processes_one_downloads_and_the_others_wait(server, root):
    server.files["x.gz"] = packed = gzip.compress(BODY)
    failures, begin = [], threading.Barrier(4)

    def want() -> None:
        try:
            begin.wait(10)
            provide(["x"], archive="x.gz", md5=md5_of(packed), sources=[server.url("plain")], folder=root)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=want) for _ in range(4)]  # the lock is a file's, so it excludes threads too
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert failures == [] and len(server.requests) == 1
    assert [path.name for path in root.iterdir()] == ["x"] and (root / "x").read_bytes() == BODY


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"The data file .*nothing cannot be read \(No such file or directory\)"):
        read_checked(tmp_path / "nothing", md5_of(BODY))


def test_the_default_root_is_the_users_choice_or_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("CNN_ZOO_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_root() == tmp_path / "cnn_zoo"
    monkeypatch.setenv("CNN_ZOO_DATA", str(tmp_path / "mine"))
    assert default_root() == tmp_path / "mine"
