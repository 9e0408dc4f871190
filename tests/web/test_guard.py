"""Who may ask, tried by attacks; and what every answer carries."""

import pytest
from support.served import LOCAL, ORIGIN, PORT, REMOTE, TOKEN, Browser

from qvsearch.web.guard import POLICY, Access, is_loopback

FOREIGN_HOSTS = [
    *("evil.com", f"evil.com:{PORT}", "127.0.0.1", "127.0.0.1:7601", "localhost", "0.0.0.0:7600"),
    *("127.0.0.1:7600.evil.com", "127.0.0.1:7600@evil.com:7600", "2130706433:7600", "127.1:7600"),
    *("192.168.1.5:7600", "[::1]:7600", "localhost.:7600", "127.0.0.1:07600", "", ":7600"),
]
PATHS = ["/", "/api/search?q=red", "/api/status", "/static/app.js", "/media/00/file", "/nothing"]


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_a_name_that_points_here_is_refused(browser, host, tally):
    for path in PATHS:
        answer = browser.get(path, 403, headers={"host": host})
        assert "hits" not in answer.text
        tally["requests by another host name refused (DNS rebinding)"] += 1


@pytest.mark.parametrize("host", ["127.0.0.1:7600", "localhost:7600", "LOCALHOST:7600"])
def test_its_own_names_are_accepted(browser, host):
    browser.get("/api/status", headers={"host": host})


def test_two_names_are_refused(browser):
    browser.get("/", 403, headers=[("host", "127.0.0.1:7600"), ("host", "evil.com")])


def test_port_80_may_be_left_out():
    access = Access(80, frozenset({"127.0.0.1"}))
    assert access.allows_host("127.0.0.1")
    assert not access.allows_host("evil.com")


CROSS = [  # what a browser says of a request that a page of another site causes
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "script"},
    {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors", "origin": "http://evil.com"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
    {"origin": "http://evil.com"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:7601"},
    {"origin": "https://127.0.0.1:7600"},
    {"origin": "http://127.0.0.1:7600.evil.com"},
]


@pytest.mark.parametrize("headers", CROSS)
def test_another_site_reads_nothing(browser, headers, tally):
    item = browser.id_of("picture-01.jpg")
    for path in (
        *("/api/search?q=red", "/api/status", "/api/fields", "/api/duplicates", "/static/app.js"),
        *(f"/media/{item}/{what}" for what in ("file", "thumbnail")),
    ):
        answer = browser.get(path, 403, headers=headers)
        assert answer.json().keys() == {"error"}
        tally["requests for another site refused"] += 1


POSTS = ["/api/uploads", "/api/selection", "/api/items/00/open", "/api/items/00/reveal"]


@pytest.mark.parametrize("headers", [*CROSS, {}, {"sec-fetch-site": "none"}])
def test_another_site_changes_nothing(browser, headers, tally):
    for path in POSTS:
        answer = browser.http.post(path, headers=headers, content=b"id=1")
        assert answer.status_code == 403, answer.text
        assert "access-control-allow-origin" not in answer.headers
        tally["forged POSTs refused (CSRF)"] += 1


def test_two_origins_are_refused(browser):
    headers = [("origin", ORIGIN), ("origin", "http://evil.com")]
    assert browser.http.post("/api/uploads", headers=headers).status_code == 403


def test_a_link_of_another_site_leads_to_the_page_only(browser):
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert "<!doctype html>" in browser.get("/?q=red", headers=link).text
    browser.get("/duplicates", headers=link)
    browser.get("/api/search?q=red", 403, headers=link)


@pytest.mark.parametrize(
    "method", ["PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "PROPFIND"]
)
def test_other_methods_are_refused(browser, method, tally):
    for path in ("/", "/api/search", "/api/uploads"):
        answer = browser.http.request(method, path, headers={"origin": ORIGIN})
        assert answer.status_code == 405
        tally["methods refused"] += 1


def test_an_endpoint_has_its_own_method(browser):
    browser.get("/api/selection", 405)
    browser.post("/api/search", 405)


def test_every_answer_has_the_safe_headers(browser, tally):
    item = browser.id_of("picture-01.jpg")
    wanted = {
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
    }
    for path, headers in (
        *((path, {}) for path in ("/", "/static/app.js", "/api", "/api/status", "/api/search")),
        *((f"/media/{item}/{what}", {}) for what in ("file", "thumbnail", "play")),
        *((path, {}) for path in ("/nothing", "/api/search?nonsense=1", "/media/00/file")),
        *(("/", {"host": "evil.com"}), (f"/media/{item}/file", {"range": "bytes=99999999-"})),
    ):
        answer = browser.http.get(path, headers=headers)
        assert wanted.items() <= dict(answer.headers).items(), path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-eval" not in policy
        assert "script-src" not in policy or policy == POLICY, "only our own scripts run"
        assert "set-cookie" not in answer.headers
        assert "server" not in answer.headers
        tally["answers with all safe headers"] += 1
    answer = browser.http.post("/api/uploads", headers={"origin": "http://evil.com"})
    assert wanted.items() <= dict(answer.headers).items()


@pytest.mark.parametrize(
    "path",
    [
        *("/static/../guard.py", "/static/..%2fguard.py", "/static/%2e%2e/guard.py"),
        *("/static//etc/passwd", "/static/app.js/", "/static/", "/static/..\\guard.py"),
        *("/static/%00app.js", "/static/app.js%00.png"),
        *("/media/..%2f..%2fetc%2fpasswd/file", "/media/%2fetc%2fpasswd/file", "/media/0/file"),
        *("/media/1/thumbnail", "/media/-1/file", "/media/0x10/file", "/api/items/0"),
        *("/api/uploads/..%2f..%2fetc%2fpasswd", "/api/items/%2e%2e/text"),
    ],
)
def test_paths_and_row_numbers_lead_nowhere(browser, path, tally):
    answer = browser.http.get(path)
    assert answer.status_code in (404, 410), answer.text
    assert answer.json().keys() == {"error"}
    tally["guessed paths and rows refused"] += 1


def test_words_are_never_a_path(browser, world):
    path = world / "files/pictures/picture-01.jpg"
    answer = browser.get("/api/search", params={"q": str(path)}).json()
    scores = [hit["score"] for hit in answer["hits"] if hit["path"] == str(path)]
    assert all(score < 0.9 for score in scores), "the file itself would have 1"
    for name in ("image", "file", "path", "queries", "row", "save_clips"):
        browser.get(f"/api/search?{name}={path}", 400)


class TestTheToken:
    @pytest.fixture
    def remote(self, browser):
        return Browser(browser.services, REMOTE, "192.168.1.9", is_local=False)

    @pytest.mark.parametrize("path", [*PATHS, "/?token=", "/?token=wrong", f"/?token={TOKEN}x"])
    def test_nothing_is_answered_without_it(self, remote, path, tally):
        answer = remote.get(path, 403)
        assert answer.json().keys() == {"error"}
        assert TOKEN not in answer.text
        tally["requests without the token refused"] += 1

    def test_it_is_taken_from_the_url_of_a_page_only(self, remote):
        remote.get(f"/api/status?token={TOKEN}", 403)
        remote.get(f"/?token={TOKEN}&token=wrong", 403)

    def test_it_becomes_a_cookie_that_scripts_and_other_sites_cannot_use(self, remote):
        answer = remote.get(f"/?q=red&token={TOKEN}&kind=image", 303)
        assert answer.headers["location"] == "/?q=red&kind=image"
        parts = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")}
        assert {"httponly", "samesite=strict", "path=/"} <= parts
        assert not any(part.startswith("domain") for part in parts)
        assert remote.get("/?q=red").status_code == 200  # with the cookie
        assert "libraries" in remote.get("/api/status").json()

    @pytest.mark.parametrize("cookie", ["qvsearch-7600=wrong", "qvsearch-7600=", "=;=", "a=\x7f"])
    def test_a_wrong_cookie_is_refused(self, remote, cookie):
        remote.get("/api/status", 403, headers={"cookie": cookie})

    def test_it_does_not_replace_the_other_checks(self, remote):
        cookie = f"{REMOTE.cookie}={TOKEN}"
        remote.get("/", headers={"cookie": cookie, "host": "192.168.1.5:7600"})
        remote.get("/", headers={"cookie": cookie, "host": "box:7600"})
        remote.get("/", 403, headers={"cookie": cookie, "host": "evil.com:7600"})
        remote.get("/api/status", 403, headers={"cookie": cookie, "origin": "http://evil.com"})

    def test_it_is_not_printed_with_the_server(self):
        assert TOKEN not in repr(REMOTE)
        assert LOCAL.token is None
        assert not LOCAL.is_token("")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"])
def test_an_address_of_this_computer(address):
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["192.168.1.1", "::", "::ffff:10.0.0.1", "localhost", ""])
def test_any_other_address(address):
    assert not is_loopback(address)
