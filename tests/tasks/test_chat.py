"""A chat server over real sockets: answers, refusals, nonsense, limits."""

import base64
import io
import json
import shutil
import socket
import ssl
import subprocess
import threading

import numpy as np
import pytest
from PIL import Image
from support.chat_server import MODEL, USAGE, piece, serving, streaming

from qvsearch import http_servers
from qvsearch.errors import QvsearchError
from qvsearch.tasks.answers.chat import ChatServer, Limits
from qvsearch.tasks.answers.question import Prompt

PICTURE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
PROMPT = Prompt("Be brief.", ("first ", PICTURE, " then <|im_end|>"))
SOON = Limits(connect=5, first=0.2, whole=0.4)
CALM = Limits(connect=5, first=20, whole=20)


def answered(script, url="{}", prompt=PROMPT, limits=CALM, **options):
    """Return the pieces that were written, the reply and the server."""
    pieces = []
    with serving(script) as server:
        generator = ChatServer(url.format(server.url), limits=limits, **options)
        reply = generator.generate(prompt, pieces.append)
    return pieces, reply, server


def refused(script, **options):
    """Return the one line that a user sees, without the URL."""
    with pytest.raises(QvsearchError) as raised:
        answered(script, **options)
    message = str(raised.value)
    assert message.startswith("the chat server http://127.0.0.1:")
    assert "\n" not in message
    return message.partition("/v1: ")[2]


def test_a_streamed_answer_arrives_in_pieces_with_its_tokens():
    pieces, reply, server = answered(streaming("a boat ", "[1]", " 船"))
    assert pieces == ["a boat ", "[1]", " 船"]
    assert (reply.text, reply.is_cut) == ("a boat [1] 船", False)
    assert (reply.prompt_tokens, reply.answer_tokens) == (40, 7)
    assert server.paths == ["/v1/models", "/v1/chat/completions"]


def test_the_request_has_the_rules_the_texts_and_the_pictures_in_their_order():
    _, _, server = answered(streaming("yes"), model="other")
    (request,) = server.requests
    assert (request["model"], request["stream"], request["temperature"]) == ("other", True, 0)
    assert "tools" not in request
    system, user = request["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    first, picture, last = user["content"]
    assert (user["role"], first["text"], last["text"]) == ("user", "first ", " then < |im_end|>")
    data = base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/jpeg;base64,"))
    shown = np.asarray(Image.open(io.BytesIO(data)), float)
    assert shown.shape == PICTURE.shape
    assert np.abs(shown - PICTURE).mean() < 12


def test_a_prompt_without_pictures_is_plain_text():
    _, _, server = answered(streaming("yes"), prompt=Prompt("rules", ("a", "b")))
    assert server.requests[0]["messages"][1] == {"role": "user", "content": "ab"}


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("{}", "/v1"),
        ("{}/", "/v1"),
        ("{}/v1/", "/v1"),
        ("{}/openai/v2", "/openai/v2"),
        ("{}/v1/chat/completions", "/v1"),
    ],
)
def test_a_url_may_name_the_server_or_its_base(given, asked):
    _, _, server = answered(streaming("yes"), url=given)
    assert server.paths == [f"{asked}/models", f"{asked}/chat/completions"]


def test_an_answer_that_is_no_stream_is_read_as_well():
    def script(handler):
        message = {"role": "assistant", "content": "a boat [1]"}
        body = {"choices": [{"message": message, "finish_reason": "stop"}]} | USAGE | {}
        body["choices"] = [{"message": message, "finish_reason": "length"}]
        handler.send(200, json.dumps(body, indent=2).encode())

    pieces, reply, _ = answered(script)
    assert (pieces, reply.text, reply.is_cut) == (["a boat [1]"], "a boat [1]", True)
    assert (reply.prompt_tokens, reply.answer_tokens) == (40, 7)


def test_comments_thoughts_and_a_missing_reason_of_the_end_do_no_harm():
    def script(handler):
        handler.begin_stream()
        handler.wfile.write(b": keep-alive\n\nevent: message\n")
        handler.event({"choices": [{"delta": {"reasoning_content": "hm"}}]})
        handler.event(piece("yes"))
        handler.wfile.write(b"data: [DONE]\n\n")

    pieces, reply, _ = answered(script)
    assert (pieces, reply.text, reply.prompt_tokens) == (["yes"], "yes", None)


def test_the_last_line_needs_no_end():
    end = b"data: " + json.dumps(piece(" yes", "stop")).encode()
    assert answered(cut_after(EVENT + end, Connection="close"), model="m")[1].text == "half yes"


def test_lines_may_end_as_in_http():
    data = EVENT.replace(b"\n", b"\r\n") + b"data:[DONE]\r\n"
    assert answered(cut_after(data, Connection="close"), model="m")[1].text == "half"


def test_the_key_is_sent_and_never_shown():
    def script(handler):
        handler.send(401, {"error": {"message": "wrong key: sk-secret"}})

    message = refused(script, key="sk-secret\n", model="m")
    assert message == ("it refuses access (401: wrong key: ***); correct QVSEARCH_CHAT_KEY")

    def in_the_stream(handler):
        handler.begin_stream()
        handler.event({"error": "the quota of sk-secret is spent"})

    def in_a_redirect(handler):
        handler.send(302, b"", Location="/login?key=sk-secret")

    assert "the quota of *** is spent" in refused(in_the_stream, key="sk-secret", model="m")
    assert "/login?key=***;" in refused(in_a_redirect, key="sk-secret", model="m")
    _, _, server = answered(streaming("yes"), key="sk-secret")
    assert server.keys == ["Bearer sk-secret"] * 2
    with pytest.raises(QvsearchError) as raised:
        ChatServer("http://localhost", key="sk-\r\nX-Evil: secret")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, {"error": "no"}, "it refuses access (401: no); set QVSEARCH_CHAT_KEY"),
        (
            404,
            {"error": {"message": "model 'x' not found"}},
            "it has no model 'x', or no chat at this URL (404: model 'x' not found);"
            " name another --chat-model, or URL",
        ),
        (500, b"<html>oops</html>", "it failed (500: no reason); see its log, or try again"),
        (503, b"loading\nmodel", "it failed (503: loading model); see its log, or try again"),
        (
            400,
            {"message": "image input is not supported"},
            "it refuses the request (400: image input is not supported); name a --chat-model that"
            " reads pictures, add --kind text, or give a smaller -k",
        ),
        (418, b"\x1b]0;evil\x07" + b"x" * 9000, "it refuses the request (418: \x1b]0;evil"),
    ],
)
def test_a_refusal_is_one_sentence_with_a_remedy(status, body, expected):
    message = refused(lambda handler: handler.send(status, body), model="x")
    assert message.startswith(expected)
    assert len(message) < 600


def test_a_redirect_is_not_followed():
    with serving(streaming("stolen")) as other:

        def script(handler):
            handler.send(307, b"", Location=f"{other.url}/v1/chat/completions")

        message = refused(script, model="m")
        assert message.startswith(f"it redirects to {other.url}/v1/chat/completions; give the URL")
        assert other.requests == []


NONSENSE = "it does not answer like an OpenAI-compatible server; check the URL"
MIDDLE = "the connection ended in the middle of the answer; try again"


@pytest.mark.parametrize(
    "body",
    [
        b"<html>welcome</html>",
        b"hello",
        b"[1, 2]",
        b'{"choices": "x"}',
        b'{"choices": [1]}',
        b'{"choices": [{"delta": {"content": 5}}]}',
        b'{"choices": [{"delta": "x"}]}',
        b'{"answer": "x"}',
        b"data: {not json}\n\n",
        b"data: 5\n\n",
        b"",
        b"[" * 100_000,
        b"{" * 100_000,
        b"\xff\xfe\x00",
    ],
)
def test_nonsense_is_named_as_such(body):
    assert refused(lambda handler: handler.send(200, body), model="m") == NONSENSE


def test_a_server_of_another_protocol_is_named_as_such():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        server = ChatServer(f"http://127.0.0.1:{listener.getsockname()[1]}", "m", limits=CALM)
        with pytest.raises(QvsearchError, match=NONSENSE):
            server.generate(PROMPT, lambda _: None)
        thread.join()


def cut_after(data, **headers):
    def script(handler):
        handler.close_connection = True
        handler.send_response(200)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return script


EVENT = b"data: " + json.dumps(piece("half")).encode() + b"\n\n"


@pytest.mark.parametrize(
    "script",
    [
        cut_after(EVENT, Connection="close"),
        cut_after(EVENT + EVENT[:20], Connection="close"),
        cut_after(EVENT, Content_Length="5000"),
        cut_after(b"%x\r\n%s\r\n" % (len(EVENT), EVENT), Transfer_Encoding="chunked"),
        cut_after(b"%x\r\n%s" % (len(EVENT) + 99, EVENT), Transfer_Encoding="chunked"),
    ],
    ids=["closed", "in a line", "length", "chunks", "in a chunk"],
)
def test_a_stream_that_is_cut_is_no_answer(script):
    pieces = []
    with serving(script) as server, pytest.raises(QvsearchError, match=MIDDLE):
        ChatServer(server.url, "m", limits=CALM).generate(PROMPT, pieces.append)
    assert pieces == ["half"]


def test_an_error_within_the_stream_is_shown():
    def script(handler):
        handler.begin_stream()
        handler.event(piece("half"))
        handler.event({"error": {"message": "out of memory"}})

    assert refused(script, model="m") == "it failed (out of memory); see its log, or try again"


def test_an_empty_answer_is_an_error():
    assert refused(streaming(" "), model="m") == (
        "its answer is empty (it wrote no text); name another --chat-model"
    )
    assert "thoughts took all the tokens" in refused(streaming(finish="length"), model="m")


def test_a_server_that_hangs_is_left_at_each_limit():
    def before(handler):
        handler.hang()

    def after_the_head(handler):
        handler.begin_stream()
        handler.hang()

    def with_comments(handler):
        handler.begin_stream()
        while not handler.server.released.wait(0.02):
            handler.wfile.write(b": wait\n")

    def later(handler):
        handler.begin_stream()
        handler.event(piece("half"))
        handler.hang()

    for script in (before, after_the_head, with_comments):
        assert refused(script, model="m", limits=SOON).startswith("no answer has begun after 0 s;")
    assert refused(later, model="m", limits=SOON).startswith("the answer takes more than 0 s;")


def test_a_huge_answer_is_left(monkeypatch):
    def script(handler):
        handler.begin_stream()
        while not handler.server.released.is_set():
            handler.event(piece("x" * 1000))

    limits = Limits(characters=5000)
    assert refused(script, model="m", limits=limits).startswith(
        "its answer is longer than 5,000 characters;"
    )
    monkeypatch.setattr("qvsearch.tasks.answers.chat_protocol.MOST_BYTES", 2**20)

    def endless_line(handler):
        handler.begin_stream()
        while not handler.server.released.is_set():
            handler.wfile.write(b"x" * 65536)

    assert refused(endless_line, model="m").startswith("its answer is larger than 1 MB;")


@pytest.mark.parametrize("models", [(), (5, None), ("nomic-Embed-text",)])
def test_without_a_model_the_user_is_told_to_name_one(models):
    with serving(streaming("yes"), models=models) as server:
        with pytest.raises(QvsearchError, match="it lists no model that writes; load one there"):
            ChatServer(server.url).generate(PROMPT, lambda _: None)
        assert server.requests == []


def test_the_first_model_that_is_not_for_embeddings_is_used_and_named():
    models = ["text-embedding-nomic", MODEL, "second"]
    with serving(streaming("yes"), models=models) as server:
        generator = ChatServer(server.url)
        generator.generate(PROMPT, lambda _: None)
        assert generator.name == server.requests[0]["model"] == MODEL


def test_a_server_that_is_not_there_is_named():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(QvsearchError, match="cannot be reached .connection refused.; start it"):
        ChatServer(f"http://127.0.0.1:{port}", "m").generate(PROMPT, lambda _: None)


def test_plain_http_to_a_public_address_sends_nothing(monkeypatch):
    monkeypatch.setattr(http_servers, "peer_is_public", lambda _: True)
    with serving(streaming("yes")) as server:
        with pytest.raises(QvsearchError, match="plain http would show your files to others"):
            ChatServer(server.url).generate(PROMPT, lambda _: None)
        assert server.paths == []


def test_https_is_not_spoken_to_a_server_without_it():
    with serving(streaming("yes")) as server:
        url = server.url.replace("http:", "https:")
        with pytest.raises(QvsearchError, match="it does not speak https; try http://"):
            ChatServer(url, limits=CALM).generate(PROMPT, lambda _: None)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_certificate_is_verified(tmp_path, monkeypatch):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    options = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
    ]
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", key, "-out", certificate]
    subprocess.run(["openssl", *options, *names, *files], check=True, capture_output=True)
    with serving(streaming("yes")) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        url = server.url.replace("http:", "https:")
        with pytest.raises(QvsearchError, match="its certificate is not valid .self.signed"):
            ChatServer(url, limits=CALM).generate(PROMPT, lambda _: None)
        assert server.paths == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert ChatServer(url, limits=CALM).generate(PROMPT, lambda _: None).text == "yes"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("localhost:11434", "is not an http or https URL"),
        ("ftp://localhost", "is not an http or https URL"),
        ("", "is not an http or https URL"),
        ("http://", "is not an http or https URL"),
        ("http://localhost:99999", "is not a URL"),
        ("http://[::1", "is not a URL"),
        ("http://user:password@localhost", "takes no password in the URL"),
        ("http://localhost/?key=secret", "is not a base URL"),
        ("http://localhost/a b", "is not a base URL"),
        ("http://b\u00fccher.example", "is not an http or https URL"),
    ],
)
def test_other_urls_are_refused_before_anything_is_loaded(url, expected):
    with pytest.raises(QvsearchError, match=expected):
        ChatServer(url)


def test_what_the_reader_raises_is_not_the_servers_fault():
    def full(_):
        raise OSError("disk full")

    with serving(streaming("yes")) as server, pytest.raises(OSError, match="disk full"):
        ChatServer(server.url, limits=CALM).generate(PROMPT, full)


def test_an_answer_stops_when_the_reader_is_interrupted():
    def script(handler):
        handler.begin_stream()
        handler.event(piece("half"))
        handler.hang()

    def interrupt(_):
        raise KeyboardInterrupt

    with serving(script) as server, pytest.raises(KeyboardInterrupt):
        ChatServer(server.url, limits=CALM).generate(PROMPT, interrupt)
