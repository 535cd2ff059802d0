"""Where archives come from: sources that misbehave, interrupted downloads, several processes at once."""

import gzip
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from cnn_zoo.data import download
from cnn_zoo.data.download import fetch, md5_of, provide
from cnn_zoo.errors import UserError


class Source(BaseHTTPRequestHandler):
    """/BEHAVIOUR/NAME gives the server's file NAME, well or not."""

    def log_message(self, *_):
        pass

    def answer(self, status, length, body):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        behaviour, name = self.path.strip("/").split("/")
        begin = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.server.asked.append((behaviour, name, begin))
        body = self.server.files.get(name)
        if behaviour == "missing" or body is None:
            self.send_error(404)
        elif behaviour == "html":
            self.answer(200, 18, b"<html>sorry</html>")
        elif behaviour == "other":
            self.answer(200, len(body), body[::-1])
        elif behaviour == "cut":  # the connection ends in the middle
            self.answer(200, len(body), body[: len(body) // 2])
        elif behaviour == "stalls":
            self.answer(200, len(body), body[: len(body) // 2])
            self.server.over.wait(20)
        elif behaviour == "trickles":
            self.answer(200, len(body), b"")
            for i in range(len(body)):
                if self.server.over.wait(0.02):
                    break
                self.wfile.write(body[i : i + 1])
        elif behaviour == "resumes" and begin >= len(body):
            self.send_error(416)
        elif behaviour == "resumes" and begin:
            self.answer(206, len(body) - begin, body[begin:])
        else:  # a plain server ignores Range
            self.answer(200, len(body), body)


@pytest.fixture
def server(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Source)
    server.daemon_threads, server.handle_error = True, lambda *_: None  # clients that leave are what is tested
    server.files, server.asked, server.over = {}, [], threading.Event()
    server.url = lambda behaviour: f"http://127.0.0.1:{server.server_port}/{behaviour}"
    monkeypatch.setattr(download, "PATIENCE", 1.0)
    monkeypatch.delenv("CNN_ZOO_MIRROR", raising=False)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


BODY = np.random.default_rng(0).bytes(2_000)


@pytest.fixture
def get(server, tmp_path):
    """Fetch BODY as x.gz from sources of the named behaviours."""
    server.files["x.gz"] = BODY
    (tmp_path / "root").mkdir()
    return lambda *behaviours: fetch("x.gz", md5_of(BODY), [server.url(b) for b in behaviours], tmp_path / "root")


@pytest.mark.parametrize("bad", ["missing", "html", "other", "cut", "stalls", "trickles"])
def test_a_bad_source_is_left_for_the_next(bad, get, server, tmp_path):
    begun = time.monotonic()
    assert get(bad, "plain") == BODY
    assert time.monotonic() - begun < 10  # neither source may be waited for without end
    assert {behaviour for behaviour, *_ in server.asked} == {bad, "plain"}
    assert list((tmp_path / "root").iterdir()) == []


def test_when_all_are_bad_it_is_said_why(get, tmp_path):
    with pytest.raises(UserError) as refused:
        get("missing", "html", "stalls", "trickles")
    for why in ("/missing/x.gz (Not Found)", "gives another file", "timed out", "gives less than"):
        assert why in str(refused.value)
    assert not (tmp_path / "root" / "x.gz").exists()


def test_a_source_without_end_cannot_fill_the_disk(get, monkeypatch):
    monkeypatch.setattr(download, "LARGEST", 1_000)
    with pytest.raises(UserError, match="gives more than 1,000 bytes"):
        get("plain")


def test_an_interrupted_download_goes_on(get, server):
    with pytest.raises(UserError, match="ended after 1,000 of 2,000 bytes"):
        get("cut")
    assert get("resumes") == BODY
    assert server.asked[-1] == ("resumes", "x.gz", 1_000)


@pytest.mark.parametrize("source", ["plain", "resumes"])
@pytest.mark.parametrize(
    "left", [b"", b"wrong from the start", BODY[:500], BODY, BODY + b"more"], ids=["none", "wrong", "some", "all", "+"]
)
def test_whatever_is_left_of_a_download_the_file_comes_whole(left, source, get, tmp_path):
    (tmp_path / "root" / ".x.gz.part").write_bytes(left)
    assert get(source) == BODY
    assert list((tmp_path / "root").iterdir()) == []


def test_ones_own_mirror_comes_first(get, server, monkeypatch):
    monkeypatch.setenv("CNN_ZOO_MIRROR", server.url("plain") + "/")
    assert get("missing") == BODY and [behaviour for behaviour, *_ in server.asked] == ["plain"]
    monkeypatch.setenv("CNN_ZOO_MIRROR", "my mirror")
    assert get("plain") == BODY  # what is no URL is a source that fails


def test_an_archive_that_one_has_is_used_and_kept(get, server, tmp_path):
    (tmp_path / "root" / "x.gz").write_bytes(BODY)
    assert get("plain") == BODY and server.asked == [] and (tmp_path / "root" / "x.gz").exists()
    (tmp_path / "root" / "x.gz").write_bytes(BODY[:-1])
    with pytest.raises(UserError, match=r"x.gz is truncated or altered: its MD5 is .*; delete it and run again"):
        get("plain")


def test_processes_that_want_one_file_at_once_fetch_it_once(server, tmp_path):
    server.files["x.gz"] = packed = gzip.compress(BODY)
    failures, begin = [], threading.Barrier(4)

    def want():
        try:
            begin.wait(10)
            provide(["x"], "x.gz", md5_of(packed), [server.url("plain")], tmp_path / "root")
        except Exception as error:
            failures.append(error)

    together = [threading.Thread(target=want) for _ in range(4)]  # the lock is the file system's: it holds threads too
    for thread in together:
        thread.start()
    for thread in together:
        thread.join(20)
    assert failures == [] and len(server.asked) == 1
    assert [p.name for p in (tmp_path / "root").iterdir()] == ["x"] and (tmp_path / "root" / "x").read_bytes() == BODY
