"""A server of a small library, asked as a browser or a program would."""

import io
import json
import os
import shutil
import threading
from contextlib import contextmanager

import platformdirs
import pytest
from PIL import Image, PngImagePlugin
from starlette.testclient import TestClient

from qvsearch.cli.app import main
from qvsearch.demo.show import write_world
from qvsearch.runtime.loading import Choice
from qvsearch.web import serving as web_serving
from qvsearch.web.app import make_app
from qvsearch.web.guard import Access
from qvsearch.web.services import Services
from support.videos import frame_of, make

PORT = 7600
ORIGIN = f"http://127.0.0.1:{PORT}"
LOCAL = Access(PORT, frozenset({"127.0.0.1", "localhost"}))
TOKEN = "correct-horse-battery-staple"
REMOTE = Access(PORT, frozenset({"box"}), any_address=True, token=TOKEN)
STARTS = 120  # seconds on a busy machine
LARGE = 32 * 2**20  # bytes: more than sockets hold
HOSTILE = 'a"\r\nSet-Cookie: x=1;\u202egpj.png'
SCRIPT = "<script>alert(1)</script>"


def write_files(folder):
    """Write files of each kind, some of them hostile, of the world that the demo model knows."""
    write_world(folder)
    for number in range(13, 41):
        (folder / f"pictures/picture-{number:02}.jpg").unlink()
    for number in range(5, 9):
        (folder / f"notes/note-{number}.txt").unlink()
    (folder / "clips/clip-2.mp4").unlink()
    (folder / "clips/clip-3.mp4").unlink()
    first = folder / "pictures/picture-01.jpg"
    shutil.copy(first, folder / "pictures/copy of picture-01.jpg")
    hidden = PngImagePlugin.PngInfo()
    hidden.add_text("Comment", SCRIPT)
    Image.open(first).save(folder / HOSTILE, pnginfo=hidden)
    (folder / "page.txt").write_text(f"<!doctype html>{SCRIPT}\nA page about snow.\n")
    lines = [f"line {number} about a red star" for number in range(1, 401)]
    (folder / "long.txt").write_text("\n".join(lines) + "\n")
    make(folder / "film.mkv", map(frame_of, range(60)), form="matroska", keyframe_every=10)
    large = make(folder / "large.mkv", map(frame_of, range(500, 520)), form="matroska")
    with large.open("r+b") as file:
        file.truncate(LARGE)  # what follows the last cluster is not read
    shutil.rmtree(folder / "library", ignore_errors=True)


def index(folder, *more):
    """Index a folder into `library` beside it."""
    library = folder.parent / "library"
    options = ["-l", str(library), "--model", "demo", "--no-ocr", "--quiet", *more]
    code = main(["index", str(folder), *options])
    assert code == 0
    return library


@contextmanager
def own_cache(folder):
    """Keep the user's cache out of what lives longer than a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(platformdirs, "user_cache_path", lambda *_, **__: folder)
        patch.setattr(platformdirs, "user_runtime_path", lambda *_, **__: folder / "run")
        yield


class Browser:
    """A client of the server: it sends what a browser sends with a request of the page itself."""

    def __init__(self, services, access=LOCAL, address="127.0.0.1", *, is_local=True):
        app = make_app(services, access, is_local=is_local)
        self.services = services
        self.http = TestClient(
            app, base_url=ORIGIN, client=(address, 50_000), follow_redirects=False
        )

    def get(self, path, expected=200, **options):
        answer = self.http.get(path, **options)
        assert answer.status_code == expected, answer.text[:500]
        return answer

    def post(self, path, expected=200, headers=None, **options):
        answer = self.http.post(path, headers={"origin": ORIGIN, **(headers or {})}, **options)
        assert answer.status_code == expected, answer.text[:500]
        return answer

    def hits(self, query="", **options):
        return self.get(f"/api/search?{query}", **options).json()["hits"]

    def id_of(self, name, folder=None):
        """The identity of the file of a name."""
        (hit,) = [each for each in self.all_hits() if os.path.basename(each["path"]) == name]
        return hit["id"]

    def all_hits(self):
        return self.hits("limit=200")


@contextmanager
def serving(*libraries, access=LOCAL, **options):
    with Services(libraries, Choice(device="cpu", dtype="float32")) as services:
        yield Browser(services, access, **options)


@contextmanager
def in_thread(services):
    """Run a server in a thread of this process; yields the URL of the page."""
    place = web_serving.listen(None, 0)
    app = make_app(services, place.access, is_local=True)
    answers, ended = threading.Event(), threading.Event()
    web = web_serving.make_server(app, answers.set, ended.set)
    thread = threading.Thread(target=web.run, args=([place.listening],))
    thread.start()
    try:
        assert answers.wait(STARTS)
        yield place.url
    finally:
        web.should_exit = True
        thread.join(STARTS)
    assert ended.is_set()


def printed(capture, *arguments):
    """The records that the command line prints."""
    main([*map(str, arguments), "--json"])
    return [json.loads(line) for line in capture.readouterr().out.splitlines()]


def png(width, height, colour="red"):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "PNG")
    return buffer.getvalue()
