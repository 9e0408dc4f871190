"""Servers that refuse, fail, lie, are slow or are none: one sentence, and nothing lost or mixed."""

import json
import socket
import ssl
import threading
import weakref
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import asdict
from datetime import datetime
from ipaddress import ip_address

import numpy as np
import pytest
from PIL import Image
from support.model_inputs import pixels
from support.model_server import Refusal, is_question, serving

from qvsearch import http_servers
from qvsearch.cli.app import main
from qvsearch.errors import InputsRefused, QvsearchError, ServersFailed
from qvsearch.indexing import batching
from qvsearch.indexing.batching import embed_files
from qvsearch.runtime.choice import Choice, read_choice
from qvsearch.runtime.remote.discovery import discover
from qvsearch.runtime.remote.embedder import RemoteEmbedder
from qvsearch.runtime.remote.handshake import Handshake
from qvsearch.runtime.remote.http import Limits, Server
from qvsearch.runtime.remote.rerank_handshake import RerankHandshake
from qvsearch.runtime.remote.texts import Texts
from qvsearch.types import Decoded, EmbedInput, Item, Kind, Segment, Skipped

pytestmark = pytest.mark.faults

DIM = 8
FAST = Limits(connect=5, answer=30, deadline=0.05, hedge=0.05, pause=0.001, longest_pause=0.005)
KEY = "k3y-of-the-server"


@pytest.fixture(autouse=True)
def _proven(monkeypatch):
    """Take servers as proven: `test_handshake.py` compares them."""
    monkeypatch.setattr(Handshake, "require", lambda *_: None)
    monkeypatch.setattr(RerankHandshake, "prove", lambda *_: [])


class Model:
    """Its vector is the text's own number in the first place."""

    def embed(self, inputs):
        return np.stack([vector(each.text) for each in inputs])


def vector(text):
    found = np.ones(DIM, np.float32)
    found[0] = float(text.removeprefix("bad")) if text != "a" else 0
    return found / np.linalg.norm(found)


def connected(*servers, limits=FAST, key=None, dim=DIM):
    """An embedder over servers, with limits as a test wants them."""
    reached = [Server(each.url, key, limits) for each in servers]
    return RemoteEmbedder(discover(reached, "lossless", clips=False), Texts(None), dim)


def numbers(count):
    return [EmbedInput(str(each)) for each in range(count)]


def expected(count):
    return np.stack([vector(str(each)) for each in range(count)])


def is_right(found):
    return bool(np.abs(found - expected(len(found))).max() < 1e-6)


def answers(*faults):
    """A fault for each request for vectors in turn, from then on none."""
    rest = list(faults)
    lock = threading.Lock()

    def fault(handler, body):
        if is_question(body):
            return None
        with lock:
            given = rest.pop(0) if rest else None
        return given and given(handler)

    return fault


def refuses(status, reason="no", **headers):
    def fault(_):
        raise Refusal(status, reason, **headers)

    return fault


def cuts(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    handler.close_connection = True
    return True


def vanishes(handler):
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True
    return True


def hangs(handler):
    handler.hang()
    return vanishes(handler)


def sends(content, kind="application/json", status=200, **headers):
    def fault(handler):
        handler.send(status, content, kind, **headers)
        return True

    return fault


def busy_then(count):
    return [refuses(429, "busy", Retry_After="0")] * count


# ------------------------------------------------------------------ one bad input


@pytest.mark.parametrize("lists", [True, False])
def test_the_bad_input_alone_is_refused_with_the_reason(lists):
    def fault(_, body):
        if "bad" in json.dumps(body):
            raise Refusal(400, "cannot identify image file")

    inputs = [*numbers(40), EmbedInput("bad1")]
    inputs[17] = EmbedInput("bad2")
    with serving(Model(), fault=fault, lists=lists) as server:
        with pytest.raises(InputsRefused) as refused:
            connected(server).embed(inputs)
        assert len(server.work) <= 41 if lists else len(server.work) == 41
    reason = "the server refuses it: cannot identify image file (400)"
    assert refused.value.reasons == {17: reason, 40: reason}
    vectors = refused.value.vectors
    assert np.isnan(vectors[[17, 40]]).all()
    assert np.abs(np.delete(vectors, [17, 40], 0) - np.delete(expected(40), 17, 0)).max() < 1e-6


def test_an_index_skips_it_and_takes_the_rest(tiny, tmp_path, capsys):
    from qvsearch.runtime.local import LocalEmbedder

    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        Image.fromarray(pixels(64, 64, number)).save(folder / f"{number}.png")
    (folder / "note.txt").write_text("poisoned words\n")

    def fault(_, body):
        if "poisoned" in json.dumps(body):
            raise Refusal(400, "the words are too bad")

    with serving(LocalEmbedder(tiny, "cpu"), fault=fault) as server:
        line = ["index", str(folder), "-l", str(tmp_path / "library"), "--server", server.url]
        assert main([*line, "--model", str(tiny), "--json"]) == 3
        records = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
        assert main(["search", "--kind", "image", "-l", str(tmp_path / "library"), "--paths"]) == 0
    (skipped,) = [each for each in records if each["state"] == "skipped"]
    assert skipped["path"].endswith("note.txt")
    assert skipped["reason"] == "the server refuses it: the words are too bad (400)"
    assert records[-1]["indexed"] == 6
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_a_vector_that_is_not_finite_is_of_a_bad_input():
    def change(vectors):
        vectors[vectors[:, 0] < 0.1] = np.nan
        return vectors

    with serving(Model(), change=change) as server, pytest.raises(InputsRefused) as refused:
        connected(server).embed(numbers(5))
    assert list(refused.value.reasons) == [0]
    assert "not finite; start it with --dtype float32" in refused.value.reasons[0]


def test_a_server_error_that_stays_with_an_input_is_the_inputs():
    def fault(_, body):
        if "bad" in json.dumps(body):
            raise Refusal(500, "Internal Server Error")

    limits = Limits(pause=0.001, longest_pause=0.002)
    with serving(Model(), fault=fault) as server, pytest.raises(InputsRefused) as refused:
        connected(server, limits=limits).embed([*numbers(3), EmbedInput("bad1")])
    assert list(refused.value.reasons) == [3]
    assert "the server cannot compute it: it failed (500: Internal" in refused.value.reasons[3]


def test_a_request_that_is_too_large_is_sent_in_parts():
    def fault(_, body):
        if not is_question(body) and isinstance(body["messages"][0], list):
            raise Refusal(413, "Request Entity Too Large")

    with serving(Model(), fault=fault) as server:
        assert is_right(connected(server).embed(numbers(20)))
    only = answers(*[refuses(413)] * 9)
    said = r"raise the limit of the proxy .* --wire jpeg95"
    with serving(Model(), fault=only) as server, pytest.raises(InputsRefused, match=said):
        connected(server).embed(numbers(1))


# ------------------------------------------------------------------ failures that pass


@pytest.mark.parametrize(
    "faults",
    [
        [refuses(500), refuses(502), refuses(500)],
        busy_then(3),
        [refuses(503, "loading")] * 2,
        [cuts, cuts],
        [vanishes, vanishes],
    ],
    ids=["fails", "busy", "loads", "cuts", "vanishes"],
)
def test_a_failure_that_passes_costs_nothing(faults):
    limits = Limits(pause=0.001, longest_pause=0.002)
    with serving(Model(), fault=answers(*faults)) as server:
        assert is_right(connected(server, limits=limits).embed(numbers(30)))


def test_a_connection_that_the_server_closed_meanwhile_is_renewed():
    with serving(Model()) as server:
        embedder = connected(server)
        assert is_right(embedder.embed(numbers(1)))
        server.close_all()
        assert is_right(embedder.embed(numbers(1)))


def test_retry_after_is_kept():
    pauses = []
    with serving(Model(), fault=answers(refuses(429, Retry_After="7"))) as server:
        (reached,) = [Server(server.url, None, FAST)]
        embedder = RemoteEmbedder(discover([reached], "lossless", clips=False), Texts(None), DIM)
        reached.rest = pauses.append
        assert is_right(embedder.embed(numbers(1)))
    assert pauses == [7.0]


def test_the_user_is_told_of_a_long_pause_and_a_deadline_bounds_it():
    limits, notices = Limits(pause=0.001, longest_pause=0.002, deadline=0.3), []
    busy = answers(*[refuses(429, "full", Retry_After="inf")] * 1000)
    with serving(Model(), fault=busy) as server:
        reached = Server(server.url, None, limits, notice=notices.append)
        embedder = RemoteEmbedder(discover([reached], "lossless", clips=False), Texts(None), DIM)
        with pytest.raises(ServersFailed, match=r"it is busy \(429: full\)"):
            embedder.embed(numbers(1))
    assert notices == []  # the pauses are short
    patient = Server("http://localhost:1", notice=notices.append)
    for seconds in (4.0, 30.0, 30.0, 33.0, 600.0):  # several requests get the same answer
        patient.rest(seconds)
    assert 115 < patient.resting() <= 120
    said = "the server http://localhost:1 is busy; trying again in {} s"
    assert notices == [said.format(30), said.format(120)]


def test_the_work_of_a_server_that_dies_goes_to_the_others():
    dies = answers(*[vanishes] * 1000)
    with serving(Model(), fault=dies) as dead, serving(Model()) as other:
        embedder = connected(dead, other, limits=Limits(pause=0.001, longest_pause=0.01))
        assert is_right(embedder.embed(numbers(300)))
        assert dead.work


@pytest.mark.parametrize("fault", [refuses(401), sends({}), cuts])
def test_the_work_of_a_server_that_goes_wrong_goes_to_the_others(fault):
    with serving(Model(), fault=answers(*[fault] * 1000)) as wrong, serving(Model()) as other:
        embedder = connected(wrong, other, limits=Limits(pause=0.001, longest_pause=0.01))
        assert is_right(embedder.embed(numbers(300)))
        assert wrong.work


def test_the_work_of_a_server_that_hangs_goes_to_an_idle_one():
    hanging = answers(*[hangs] * 1000)
    with serving(Model(), fault=hanging) as slow, serving(Model()) as other:
        embedder = connected(slow, other)
        assert is_right(embedder.embed(numbers(300)))
        assert slow.at_once


def test_without_any_server_left_the_error_names_each():
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(Model())) for _ in range(2)]
        embedder = connected(*servers)
    with pytest.raises(ServersFailed) as failed:
        embedder.embed(numbers(3))
    for server in servers:
        assert f"the server {server.url}: it cannot be reached" in str(failed.value)


def test_an_index_without_servers_keeps_what_is_finished(tiny, tmp_path, capsys, monkeypatch):
    from qvsearch.runtime.local import LocalEmbedder
    from qvsearch.runtime.remote import loading

    monkeypatch.setattr(loading, "Server", lambda url, key, **rest: Server(url, key, FAST, **rest))
    for number in range(12):
        (tmp_path / f"{number:02}.txt").write_text(f"note {number}\n")
    local = LocalEmbedder(tiny, "cpu")
    line = ["index", str(tmp_path), "-l", str(tmp_path / "library"), "--exclude", "library"]

    def fault(handler, body):
        return "note 9" in json.dumps(body) and vanishes(handler)

    with serving(local, fault=fault) as server:
        assert main([*line, "--model", str(tiny), "--server", server.url, "-q"]) == 2
    said = capsys.readouterr().err
    assert f"the server {server.url}: the connection broke" in said
    with serving(local) as server:
        assert main([*line, "--server", server.url]) == 0
        said = capsys.readouterr().out
    assert "found 12 = indexed" in said
    assert "unchanged 0" not in said


# ------------------------------------------------------------------ answers that are wrong


def test_answers_are_put_into_the_order_of_their_indices(monkeypatch):
    def fault(handler, body):
        if is_question(body):
            return None
        answer = handler.answer(body)
        handler.send(200, answer | {"data": answer["data"][::-1]})
        return True

    with serving(Model(), fault=fault) as server:
        assert is_right(connected(server).embed(numbers(9)))


def entries(*vectors):
    return {"data": [{"index": i, "embedding": v} for i, v in enumerate(vectors)]}


UNIT = [1.0] + [0.0] * (DIM - 1)
WRONG = {
    "too few": (sends(entries(UNIT)), "its answer has 1 results for 2 inputs"),
    "too many": (sends(entries(UNIT, UNIT, UNIT)), "its answer has 3 results for 2 inputs"),
    "twice the same": (
        sends({"data": [{"index": 0, "embedding": UNIT}] * 2}),
        "its answer does not say which result is of which input",
    ),
    "no index": (sends({"data": [{"embedding": UNIT}] * 2}), "its answer has 2 results for 2"),
    "no vectors": (sends({"data": [{"index": 0}, {"index": 1}]}), "its answer has no vectors"),
    "words": (sends(entries("no", "no")), "its answer has no vectors"),
    "long ones": (sends(entries([2.0] * DIM, [2.0] * DIM)), "its vectors have length 5.657, not 1"),
    "short ones": (
        sends(entries([1.0], [1.0])),
        f"its vectors have 1 dimensions, not {DIM}; it serves another model",
    ),
    "different ones": (sends(entries(UNIT, [1.0])), "its vectors have different dimensions"),
    "a list": (sends([1, 2]), "its answer has no list of results"),
    "a page": (sends(b"<html>Sign in</html>", "text/html"), "it does not answer in JSON; check"),
    "elsewhere": (
        sends(b"", status=302, Location="http://elsewhere/"),
        "it redirects to http://elsewhere/; give the URL of the server itself",
    ),
    "no access": (
        sends(f"{KEY} is wrong".encode(), status=401),
        "it refuses access (401: *** is wrong); correct QVSEARCH_SERVER_KEY or --server-key-file",
    ),
}


@pytest.mark.parametrize(("fault", "reason"), WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_named(fault, reason):
    scripted = serving(Model(), fault=answers(*[fault] * 9))
    with scripted as server, pytest.raises(ServersFailed) as failed:
        connected(server, key=KEY).embed(numbers(2))
    assert str(failed.value).startswith(f"the server {server.url}: {reason}")


# ------------------------------------------------------------------ servers that are none


NONE = {
    "a page": (sends(b"<html>Hi</html>", "text/html"), "it does not answer in JSON"),
    "another one": (sends({"models": []}), "it lists no models; check the URL"),
    "not there": (
        sends({"detail": "Gone"}, status=404),
        "it is not a model server: it lists no models (Gone (404)); check",
    ),
    "a web server": (
        sends(b"<!DOCTYPE HTML>", "text/html", status=404),
        "it is not a model server: it lists no models (not found (404)); check the URL",
    ),
    "elsewhere": (sends(b"", status=307, Location="/x"), "it redirects to /x; give the URL"),
    "no HTTP": (lambda handler: handler.wfile.write(b"SSH-2.0\r\n" * 9) and None, "it does not"),
}


@pytest.mark.parametrize(("answer", "reason"), NONE.values(), ids=NONE)
def test_a_server_that_is_none_is_named_before_anything_is_sent(answer, reason):
    with serving(Model(), get=answer) as server:
        with pytest.raises(ServersFailed) as failed:
            connected(server)
        assert str(failed.value).startswith(f"the server {server.url}: {reason}")
        assert server.bodies == []


def test_a_rerankers_server_is_no_embedders_and_the_reverse(tiny):
    from qvsearch.runtime.remote.discovery import discover_rerankers

    said = "it serves no vectors: it may be a reranker's"
    with serving(reranker=object()) as server, pytest.raises(ServersFailed, match=said):
        connected(server)
    said = "it serves no scores: it may be an embedding"
    with serving(Model()) as server, pytest.raises(ServersFailed, match=said):
        discover_rerankers([Server(server.url)])


def test_a_name_that_is_not_known_is_named():
    with pytest.raises(ServersFailed, match="http://nowhere.invalid:1: it cannot be reached"):
        discover([Server("http://nowhere.invalid:1")], "lossless", clips=False)


def test_plain_http_to_a_public_address_sends_nothing(monkeypatch):
    monkeypatch.setattr(http_servers, "peer_is_public", lambda _: True)
    with serving(Model()) as server:
        with pytest.raises(ServersFailed, match="plain http would show .*; use https, or --insec"):
            connected(server)
        assert server.heads == []
        discover([Server(server.url, insecure=True)], "lossless", clips=False)


def expired_certificate(folder):
    """The files of a certificate for 127.0.0.1 that has expired, and of its key."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.IPAddress(ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(datetime(2020, 1, 1))
        .not_valid_after(datetime(2020, 1, 2))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, *plain))
    return folder / "cert.pem", folder / "key.pem"


def test_a_certificate_that_has_expired_is_refused(tmp_path, monkeypatch):
    certificate, key = expired_certificate(tmp_path)
    with serving(Model()) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.scheme = "https"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with pytest.raises(ServersFailed, match="its certificate is not valid .*expired"):
            connected(server)
        assert server.heads == []


# ------------------------------------------------------------------ keys


def test_a_key_reaches_the_server_and_nothing_else(tiny, tmp_path, monkeypatch, capsys):
    from qvsearch.runtime.local import LocalEmbedder

    (tmp_path / "key").write_text(f"{KEY}\n")
    (tmp_path / "note.txt").write_text("words\n")
    line = ["index", str(tmp_path / "note.txt"), "-l", str(tmp_path / "library")]
    line += ["--model", str(tiny)]
    with serving(LocalEmbedder(tiny, "cpu"), key=KEY) as server:
        line += ["--server", server.url]
        assert main(line) == 2
        assert "it refuses access (401: Unauthorized); set QVSEARCH_SERVER_KEY or" in (
            capsys.readouterr().err
        )
        monkeypatch.setenv("QVSEARCH_SERVER_KEY", "wrong")
        assert main(line) == 2
        assert "; correct QVSEARCH_SERVER_KEY" in capsys.readouterr().err
        assert main([*line, "--server-key-file", str(tmp_path / "key")]) == 0
        monkeypatch.setenv("QVSEARCH_SERVER_KEY", KEY)
        monkeypatch.setenv("QVSEARCH_SERVER", f"{server.url} {server.url}/v1")
        assert main(["search", "words", "-l", str(tmp_path / "library"), "--all"]) == 0
    said = capsys.readouterr()
    assert KEY not in said.out + said.err
    for path in (tmp_path / "library").rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "cannot be read: no such file"), (b"\n", "has no key; write it")]
)
def test_a_key_file_without_a_key_is_named(tiny, tmp_path, content, reason, capsys):
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    line = ["similarity", "a", "b", "--model", str(tiny), "--server", "http://127.0.0.1:1"]
    assert main([*line, "--server-key-file", str(file)]) == 2
    assert f"--server-key-file {file} {reason}" in capsys.readouterr().err


def test_a_key_that_no_header_can_hold_is_not_printed():
    with pytest.raises(QvsearchError) as refused:
        Server("http://127.0.0.1:1", f"{KEY}\nX-Other: 1")
    assert KEY not in str(refused.value)


# ------------------------------------------------------------------ many at once


def test_several_batches_keep_all_servers_busy():
    with serving(Model(), seconds=0.002) as one, serving(Model(), seconds=0.002) as other:
        embedder = connected(one, other)
        assert embedder.at_once == 3
        batches = [embedder.submit(numbers(200)) for _ in range(3)]
        assert all(is_right(each.result()) for each in batches)
        for server in (one, other):
            assert server.most_at_once > 1
            assert len(server.work) > 1


def files(count):
    item = Item(b"/", b"x.txt", Kind.TEXT, 1, 0)
    for number in range(count):
        yield Decoded(item, ((Segment(item, "hash", snippet=str(number)), numbers(count)[number]),))


def test_files_keep_their_order_while_batches_overtake_one_another():
    with serving(Model(), seconds=0.001) as one, serving(Model()) as other:
        embedder = connected(one, other)
        found = list(embed_files(files(200), lambda: embedder, lambda: False))
    assert [each.segments[0].snippet for each in found] == [str(each) for each in range(200)]
    assert is_right(np.concatenate([each.vectors for each in found]))


def test_a_stop_takes_what_servers_have_done_and_waits_for_no_other(monkeypatch):
    class Slow:
        """The first two batches are done at once, and no other ever."""

        dim, at_once, begun = DIM, 4, 0

        def embed(self, inputs):
            raise AssertionError("the batches are submitted")

        def submit(self, inputs):
            self.begun += 1
            future = Future()
            if self.begun <= 2:
                future.set_result(Model().embed(inputs))
            return future

    monkeypatch.setattr(batching, "BATCH_SECONDS", 0.01)
    monkeypatch.setattr(batching, "STOP_SECONDS", 0.001)
    slow = Slow()
    found = list(embed_files(files(200), lambda: slow, lambda: slow.begun == 3))
    assert 2 <= len(found) < 200
    assert [each.segments[0].snippet for each in found] == [str(each) for each in range(len(found))]


def test_each_refused_file_is_skipped_once_and_failing_servers_end_the_run():
    refused = {5, 6, 90}

    def fault(_, body):
        if any(f'"{each}"' in json.dumps(body) for each in refused):
            raise Refusal(400, "bad")

    with serving(Model(), fault=fault) as server:
        embedder = connected(server)
        found = list(embed_files(files(100), lambda: embedder, lambda: False))
    skipped = [each for each in found if isinstance(each, Skipped)]
    assert [each.reason for each in skipped] == ["the server refuses it: bad (400)"] * 3
    assert len(found) == 100
    with pytest.raises(ServersFailed):
        list(embed_files(files(3), lambda: embedder, lambda: False))


def test_the_watcher_gets_the_servers_and_never_the_key(tiny, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("QVSEARCH_SERVER_KEY", KEY)
    choice = Choice(servers=("http://a:1", "http://b:2"), insecure=True, key_file="/key")
    assert read_choice(json.loads(json.dumps(asdict(choice)))) == choice
    (tmp_path / "note.txt").write_text("words\n")
    line = ["-l", str(tmp_path / "library")]
    assert main(["index", str(tmp_path / "note.txt"), *line, "--model", str(tiny), "-q"]) == 0
    line += ["--server", "http://a:1", "--server", "http://b:2", "--server-key-file", "/key"]
    assert main(["watch", *line, "--print-unit", "systemd"]) == 0
    unit = capfd.readouterr().out
    assert "--server http://a:1 --server http://b:2 --server-key-file /key" in unit.replace('"', "")
    assert KEY not in unit


# ------------------------------------------------------------------ threads and connections


def test_an_embedder_that_is_no_longer_used_ends_its_threads():
    with serving(Model()) as server:
        before = set(threading.enumerate())
        embedder = connected(server)
        embedder.embed(numbers(300))
        gone = weakref.ref(embedder)
        own = [each for each in set(threading.enumerate()) - before if each.daemon]
        assert own
        del embedder
        for each in own:
            each.join(10)
        assert gone() is None
        assert not [each for each in own if each.is_alive()]


def test_queries_of_several_threads_are_computed_at_once():
    together = threading.Barrier(3, timeout=10)

    def waits(_):
        together.wait()

    with serving(Model(), fault=answers(waits, waits, waits)) as server:
        embedder = connected(server)
        begun = [embedder.submit([EmbedInput(str(each))]) for each in range(3)]
        found = np.concatenate([each.result(20) for each in begun])
    assert is_right(found)


def test_a_connection_that_a_server_ends_is_opened_as_the_first_one(monkeypatch):
    def ends(handler):
        handler.send(200, handler.answer(handler.server.bodies[-1][1]), Connection="close")
        return True

    opened = []
    own = Server.open

    def opens(server):
        opened.append(own(server))
        return opened[-1]

    monkeypatch.setattr(Server, "open", opens)
    with serving(Model(), fault=answers(ends, ends)) as server:
        embedder = connected(server)
        before = len(opened)
        for _ in range(3):
            assert is_right(embedder.embed(numbers(1)))
    assert len(opened) - before == 3


@pytest.mark.parametrize("status", [408, 502, 504])
def test_a_proxy_without_its_server_is_not_the_inputs_fault(status):
    away = answers(*[refuses(status)] * 1000)
    with serving(Model(), fault=away) as server, pytest.raises(ServersFailed, match=f"{status}"):
        connected(server).embed(numbers(1))


def test_an_answer_that_drips_has_a_limit():
    def drips(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        with suppress(OSError):
            while not handler.server.released.wait(0.05):
                handler.wfile.write(b" ")
        return vanishes(handler)

    limits = Limits(answer=0.3, deadline=0.01, pause=0.001)
    slow = answers(*[drips] * 1000)
    with serving(Model(), fault=slow) as server, pytest.raises(ServersFailed, match="no answer"):
        connected(server, limits=limits).embed(numbers(1))
