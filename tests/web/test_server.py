"""The command `qvsearch serve` as a process, with slow, rude and many clients."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from support.served import STARTS, in_thread

from qvsearch.cli.app import main
from qvsearch.web import connections, guard, serving


@contextmanager
def server(library, home, *options, expected=0):
    """Run the command; give its URL and its process. At the end it is told to leave."""
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_RUNTIME_DIR": str(home),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "qvsearch", "serve", "-l", str(library), "--port", "0", "--no-open",
         "--device", "cpu", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http://"), process.stderr.read()
        yield url, process
        process.send_signal(signal.SIGINT)
        assert process.wait(STARTS) == expected
        assert process.stderr.read() == ""
        assert process.stdout.read() == ""
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.fixture(scope="module")
def running(world):
    film = world / "files/film.mkv"
    with server(world / "library", world) as (url, process):
        yield url, process, film


def address(url):
    host, port = re.fullmatch(r"http://(.*):(\d+)/.*", url).groups()
    return host.strip("[]"), int(port)


def get(url, path, **headers):
    with urllib.request.urlopen(
        urllib.request.Request(url + path, headers=headers), timeout=60
    ) as answer:
        return answer.read()


def raw(url, data, seconds=30):
    """Send bytes, and return all that comes back until the server closes."""
    with socket.create_connection(address(url), timeout=seconds) as client:
        client.sendall(data)
        parts = []
        while part := client.recv(65536):
            parts.append(part)
        return b"".join(parts)


def head(url, path, *more, method="GET"):
    host, port = address(url)
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}:{port}", *more, "", ""]
    return "\r\n".join(lines).encode()


def first(url, query):
    import json

    return json.loads(get(url, f"api/search?{query}&limit=1"))["hits"][0]


def test_it_answers_and_is_reached_by_this_computer_only(running):
    url, process, _ = running
    assert url.startswith("http://127.0.0.1:")
    assert b"<!doctype html>" in get(url, "")
    assert first(url, "q=a+red+star")["path"]
    listening = Path(f"/proc/{process.pid}/net/tcp")
    if listening.exists():
        port = f":{address(url)[1]:04X} "
        addresses = [line.split()[1] for line in listening.read_text().splitlines() if port in line]
        assert {each.partition(":")[0] for each in addresses if each} <= {"0100007F"}


def test_a_player_reads_ranges(running):
    url, _, film = running
    item = first(url, "kind=video&glob=film.mkv")["id"]
    part = get(url, f"media/{item}/file", Range="bytes=100-299")
    assert part == film.read_bytes()[100:300]
    answer = raw(url, head(url, f"/media/{item}/file", "Range: bytes=0-9", "Connection: close"))
    assert answer.startswith(b"HTTP/1.1 206 ")
    assert b"content-length: 10" in answer.lower()


BROKEN = [
    b"GET / HTTP/1.1\r\n\r\n",  # without a host
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),  # TLS
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET http://evil.com/ HTTP/1.1\r\nHost: evil.com\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Length: 5\r\n\r\n0\r\n\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
    b"POST /api/uploads HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
    b"NONSENSE\r\n\r\n",
]


@pytest.mark.parametrize("data", BROKEN, ids=range(len(BROKEN)))
def test_broken_requests_are_refused(running, data, tally):
    answer = raw(running[0], data)
    assert re.match(rb"HTTP/1.1 4\d\d ", answer), answer[:200]
    assert b"<!doctype" not in answer
    tally["broken requests refused"] += 1
    assert get(running[0], "api")


def test_an_upgrade_is_not_taken(running):
    url = running[0]
    lines = ("Upgrade: websocket", "Connection: Upgrade, close", "Sec-WebSocket-Version: 13")
    assert not raw(url, head(url, "/api", *lines)).startswith(b"HTTP/1.1 101")


def test_a_client_that_leaves_in_the_middle_of_a_video_stops_nobody(running):
    url, process, _ = running
    item = first(url, "kind=video&glob=large.mkv")["id"]
    for _ in range(20):
        with socket.create_connection(address(url), timeout=30) as client:
            client.sendall(head(url, f"/media/{item}/file"))
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
    opened = Path(f"/proc/{process.pid}/fd")
    for _ in range(400):
        if not opened.exists() or not any(map(shows_large, opened.iterdir())):
            break
        time.sleep(0.02)
    else:
        raise AssertionError("the file is still open")
    assert get(url, "api/search?q=a+red+star")


def shows_large(link):
    try:
        return os.readlink(link).endswith("large.mkv")
    except OSError:  # it was closed meanwhile
        return False


def test_slow_clients_stop_nobody(running, tally):
    url = running[0]
    with ExitStack() as stack:
        for number in range(connections.ENOUGH + 90):
            client = stack.enter_context(socket.create_connection(address(url), timeout=30))
            if number % 3:
                client.sendall(head(url, "/api")[: 5 + number % 40])  # a head that never ends
            tally["slow clients beside which others are answered"] += 1
        started = time.monotonic()
        for _ in range(5):
            assert get(url, "api/search?q=a+red+star")
        assert time.monotonic() - started < connections.HEAD_SECONDS, "others do not wait for them"


def test_clients_that_do_not_read_stop_nobody(running, tally):
    url = running[0]
    item = first(url, "kind=video&glob=large.mkv")["id"]
    with ExitStack() as stack:
        for _ in range(connections.ENOUGH + 70):
            client = stack.enter_context(socket.create_connection(address(url), timeout=30))
            client.sendall(head(url, f"/media/{item}/file"))
            tally["slow clients beside which others are answered"] += 1
        started = time.monotonic()
        for _ in range(5):
            assert get(url, "api/search?q=a+red+star")
        assert time.monotonic() - started < connections.HEAD_SECONDS


def test_a_client_that_stalls_is_dropped(browser, monkeypatch, capsys):
    monkeypatch.setattr(guard, "STALLED_SECONDS", 0.2)
    item = browser.id_of("large.mkv")
    with in_thread(browser.services) as url:
        with socket.create_connection(address(url), timeout=STARTS) as client:
            client.sendall(head(url, f"/media/{item}/file"))
            deadline = time.monotonic() + STARTS
            while opens_large():
                assert time.monotonic() < deadline, "its file stays open"
        assert get(url, "api")
    assert "Traceback" not in capsys.readouterr().err


def opens_large():
    folder = Path("/proc/self/fd")
    return folder.exists() and any(map(shows_large, folder.iterdir()))


def test_a_body_that_trickles_stops_nobody(running):
    url = running[0]
    host, port = address(url)
    lines = (f"Origin: http://{host}:{port}", "Content-Type: image/png", "Content-Length: 1000")
    with ExitStack() as stack:
        for _ in range(6):  # more than are received at once
            client = stack.enter_context(socket.create_connection(address(url), timeout=30))
            client.sendall(head(url, "/api/uploads", *lines, method="POST") + b"x")
        assert get(url, "api/search?q=a+red+star")


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_a_client_that_sends_no_head_is_closed(browser, monkeypatch, begun):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(serving, "IDLE_SECONDS", 0.2)
    with in_thread(browser.services) as url:
        with socket.create_connection(address(url), timeout=STARTS) as client:
            client.sendall(begun)
            assert client.recv(100) == b""
        with socket.create_connection(address(url), timeout=STARTS) as client:
            client.sendall(head(url, "/api"))  # one after a request is a new one
            client.sendall(begun)
            while client.recv(65536):
                pass


def test_ctrl_c_ends_it_though_clients_are_connected(world, tmp_path):
    with server(world / "library", world) as (url, _):
        client = socket.create_connection(address(url))
        client.sendall(b"GET / HT")
    client.close()


def test_a_request_to_end_ends_it_as_well(world):
    with server(world / "library", world) as (url, process):
        get(url, "api")
        process.send_signal(signal.SIGTERM)
        assert process.wait(STARTS) == 0


def test_with_a_host_the_url_has_a_token(world):
    with server(world / "library", world, "--host", "127.0.0.1") as (url, _):
        place, _, token = url.partition("?token=")
        assert len(token) >= 43
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get(place, "")
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        assert b"<!doctype html>" in opener.open(url).read()
        assert b"libraries" in opener.open(f"{place}api/status").read()


def test_a_port_in_use_is_named_with_one_that_is_free(world, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", "-l", str(world / "library"), "--port", str(port), "--no-open"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"port {port} of 127.0.0.1 is not available (address already in use)" in error
    other = int(re.search(r"give --port (\d+)", error)[1])
    with socket.socket() as free:
        free.bind(("127.0.0.1", other))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "70000"], "--port must be from 0 to 65535"),
        (["--port", "web"], "--port 'web' is not a whole number"),
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid is no address"),
        (["--host", "192.0.2.1"], "192.0.2.1"),
        (["-l", "/nowhere/library"], "no library at /nowhere/library"),
        (["photos"], "unexpected argument 'photos'"),
    ],
)
def test_options_that_cannot_be(world, capsys, options, message):
    library = [] if "-l" in options else ["-l", str(world / "library")]
    assert main(["serve", *library, "--no-open", *options]) == 2
    assert message in capsys.readouterr().err


def test_an_address_of_all_is_shown_as_one_to_open():
    place = serving.listen("0.0.0.0", 0)
    with place.listening:
        assert not place.is_local
        assert re.match(r"http://(?!0\.0\.0\.0)[\w.\-]+:\d+/\?token=", place.url)


def test_a_browser_is_opened_unless_there_is_none(monkeypatch):
    from qvsearch.cli import serve

    opened = []
    came = threading.Event()
    monkeypatch.setattr("webbrowser.open", lambda url: (opened.append(url), came.set()))
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    serve._open_browser("http://127.0.0.1:1/")
    assert opened == []
    monkeypatch.setenv("DISPLAY", ":0")
    serve._open_browser("http://127.0.0.1:1/")
    assert came.wait(STARTS)
    assert opened == ["http://127.0.0.1:1/"]
