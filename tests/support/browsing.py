"""A browser, and the page of a drawn album, for the tests of the page."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import chdir, contextmanager, suppress
from urllib.request import urlopen

import pytest

from qvsearch.cli.app import main
from qvsearch.runtime.loading import Choice
from qvsearch.web.services import Services
from support.drawn_album import write_album
from support.served import in_thread, own_cache

BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
SIZE = {"width": 1280, "height": 800}
PATIENCE = 120  # seconds for a browser to start, or a model; a busy machine needs some
NO_BROWSER = "no Chromium on PATH: apt-get install chromium"


def browser_path():
    """The path of a browser; None if there is none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def browser_flags():
    """No graphics card: imitating one takes two thirds more processor time.

    A browser of root refuses to run in its sandbox; the tests open no page but their own.
    """
    return ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]


def index(folder, *names, cache):
    """Index folders of an album with the demo model; returns the library."""
    options = ["-l", "./library", "--model", "demo", "--no-ocr", "--quiet"]
    with chdir(folder), own_cache(cache):
        assert main(["index", *names, *options]) == 0
    return folder / "library"


@contextmanager
def serving(library, cache):
    """Serve a library until the end; yields the URL of the page."""
    choice = Choice(device="cpu")
    with own_cache(cache), Services([library], choice) as services, in_thread(services) as url:
        yield url


def problem_of(path):
    """Why a browser cannot be driven here, by a process that opens a page in it; None if it can."""
    command = [sys.executable, "-m", "support.open_browser", path, *browser_flags()]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            _, error = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # the browser too
            return f"it opens no page in {PATIENCE} s"
    if not process.returncode:
        return None
    lines = error.decode().splitlines()
    return next((line for line in lines if "Error" in line), f"exit code {process.returncode}")


@pytest.fixture(scope="session")
def chromium():
    """A Chromium, or the test is skipped by name."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright")
    path = browser_path()
    if path is None:
        pytest.skip(NO_BROWSER)
    if problem := problem_of(path):
        pytest.skip(f"{path} cannot be driven: {problem}")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=browser_flags())
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def album(tmp_path_factory):
    """The folder of an album with its library; `captions` describes some of its pictures."""
    folder = tmp_path_factory.mktemp("album")
    captions = write_album(folder, pictures=24, size=0.3)
    index(folder, "pictures", "clips", "notes", cache=tmp_path_factory.mktemp("cache"))
    return folder, captions


@pytest.fixture(scope="session")
def url(chromium, album, tmp_path_factory):
    """The URL of the album's page."""
    with serving(album[0] / "library", tmp_path_factory.mktemp("cache")) as address:
        urlopen(f"{address}api/search?q=loaded", timeout=PATIENCE).close()  # loads the model
        yield address.rstrip("/")


@pytest.fixture(scope="session")
def tab(chromium, url):
    """A tab that tests share: each new one is a process, and takes a second of a core."""
    with _opened(chromium, url) as opened:
        yield opened


@pytest.fixture
def page(tab):
    """A page of the album in a tab as new; errors of its scripts fail the test."""
    with _without_errors(tab):
        yield tab
        tab.unroute_all(behavior="ignoreErrors")
        tab.goto("about:blank")
        tab.set_viewport_size(SIZE)
        tab.mouse.move(0, 0)


@contextmanager
def fresh(browser, url, **options):
    """Open the page as a person does who never did before; its errors end the test."""
    with _opened(browser, url, **options) as opened, _without_errors(opened):
        yield opened


@contextmanager
def _opened(browser, url, **options):
    context = browser.new_context(base_url=url, viewport=SIZE, **options)
    with suppress(Exception):  # a browser without these rights asks nobody
        context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened = context.new_page()
    opened.set_default_timeout(10_000)
    yield opened
    context.close()


@contextmanager
def _without_errors(page):
    wrong = []

    def on_error(error):
        wrong.append(str(error))

    def on_message(message):
        if "Content Security" in message.text:
            wrong.append(message.text)

    page.on("pageerror", on_error)
    page.on("console", on_message)
    yield
    page.remove_listener("pageerror", on_error)
    page.remove_listener("console", on_message)
    assert wrong == []


def names(page):
    """Names of the files in the grid, in its order."""
    return page.locator("#grid .card .caption").all_inner_texts()
