"""A server on the loopback interface that speaks vLLM's protocol and embeds in this process.

It reads requests by itself: it renders conversations, decodes pictures, and refuses what would give
other vectors. `faults` make it answer wrongly. Run as a program it serves the demo's models.
"""

import argparse
import base64
import io
import json
import socket
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

from qvsearch.types import EmbedInput, Frames

MODEL = "served"


class Refusal(Exception):
    """What the server answers with a status other than 200."""

    def __init__(self, status, reason, **headers):
        super().__init__(reason)
        self.status, self.headers = status, headers


class ModelServer(ThreadingHTTPServer):
    """Answers as vLLM does; `bodies` are the requests, `heads` their first lines and headers.

    `fault(handler, body)` is called before each answer; it may raise Refusal, answer by itself and
    return True, or return None. `change(vectors)` returns what is sent instead.
    """

    daemon_threads = False  # `server_close` waits for them
    request_queue_size = 128

    def __init__(self, embedder=None, reranker=None, **options):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.embedder, self.reranker = embedder, reranker
        self.lists = options.pop("lists", True)
        self.kwargs = options.pop("kwargs", True)
        self.fault = options.pop("fault", None)
        self.change = options.pop("change", None)
        self.get = options.pop("get", None)  # answers all GET requests
        self.key = options.pop("key", None)
        self.seconds = options.pop("seconds", 0.0)  # of work for each input, beside the model's
        self.scheme = options.pop("scheme", "http")
        assert not options
        self.bodies, self.heads = [], []
        self.lock = threading.Lock()
        self.released = threading.Event()
        self.at_once = self.most_at_once = 0
        self.connections = set()

    def handle_error(self, *_):
        """Leave out what the client's end of a connection raises here."""

    def get_request(self):
        connection, address = super().get_request()
        self.connections.add(connection)
        return connection, address

    def close_all(self):
        """Close the connections of all clients, as a server does with idle ones."""
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"

    @property
    def work(self):
        """The requests for vectors and scores, without those that ask what the server takes."""
        return [body for _path, body in self.bodies if not is_question(body)]


def is_question(body):
    """Whether a request asks what the server takes: it has only the word `a`, or black frames."""
    texts = set(find_all(body, "text"))
    return texts <= {"a", "Represent the user's input."} and not find_all(body, "image_url")


def find_all(content, name):
    """All values of a name in JSON."""
    if isinstance(content, dict):
        here = [content[name]] if name in content else []
        return here + [each for value in content.values() for each in find_all(value, name)]
    if isinstance(content, list):
        return [each for value in content for each in find_all(value, name)]
    return []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.heads.append((self.path, dict(self.headers)))
        if self.denied():
            return
        if self.server.get is not None:
            self.server.get(self)
        elif self.path == "/v1/models":
            self.send(200, {"object": "list", "data": [{"id": MODEL, "owned_by": "vllm"}]})
        elif self.path == "/version":
            self.send(200, {"version": "0.32.0"})
        else:
            self.send(404, {"detail": "Not Found"})

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.heads.append((self.path, dict(self.headers)))
            server.bodies.append((self.path, body))
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            if not self.denied() and not (server.fault and server.fault(self, body)):
                self.send(200, self.answer(body))
        except Refusal as refusal:
            content = {"error": {"message": str(refusal), "code": refusal.status}}
            self.send(refusal.status, content, **refusal.headers)
        finally:
            with server.lock:
                server.at_once -= 1

    def denied(self):
        key = self.server.key
        if key is None or self.headers.get("Authorization") == f"Bearer {key}":
            return False
        self.send(401, {"error": "Unauthorized"})
        return True

    def answer(self, body):
        if self.path == "/v1/embeddings" and self.server.embedder is not None:
            return self.embeddings(body)
        if self.path in ("/score", "/rerank") and self.server.reranker is not None:
            return self.scores(body)
        raise Refusal(404, "Not Found")

    def embeddings(self, body):
        server = self.server
        messages = body["messages"]
        is_list = isinstance(messages[0], list)
        if is_list and not server.lists:
            raise Refusal(400, "Input should be a valid dictionary")
        conversations = messages if is_list else [messages]
        inputs = [self.read(each, body) for each in conversations]
        time.sleep(server.seconds * len(inputs))
        with server.lock:
            vectors = server.embedder.embed(inputs)
        if server.change is not None:
            vectors = server.change(vectors)
        data = [
            {"index": index, "object": "embedding", "embedding": self.written(vector, body)}
            for index, vector in enumerate(vectors)
        ]
        return {"object": "list", "model": MODEL, "data": data, "usage": {}}

    @staticmethod
    def written(vector, body):
        if body.get("encoding_format") == "base64":
            return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()
        return [float(each) for each in vector]

    def read(self, conversation, body):
        """The input that a conversation renders to, for one that gives exact vectors."""
        *system, user = conversation
        if user["role"] != "user" or len(system) > 1:
            raise Refusal(400, "these turns give other vectors")
        source = self.parts(user["content"], body)
        if not system:
            raise Refusal(400, "no system turn gives other vectors")
        if not all(body.get(f"add_{name}") for name in ("generation_prompt", "special_tokens")):
            raise Refusal(400, "these flags give other vectors")
        if "dimensions" in body or "truncate_prompt_tokens" in body:
            raise Refusal(400, "does not support Matryoshka")
        return EmbedInput(source.text, source.images, source.video, words(system[0]["content"]))

    def parts(self, content, body):
        if isinstance(content, str):
            return EmbedInput(content)
        kinds = [part["type"] for part in content]
        if "text" in kinds[:-1]:
            raise Refusal(400, "text before media gives other vectors")
        images = tuple(
            picture(part["image_url"]["url"].partition(",")[2])
            for part in content
            if part["type"] == "image_url"
        )
        videos = [part["video_url"]["url"] for part in content if part["type"] == "video_url"]
        video = self.video(videos[0], body) if videos else None
        return EmbedInput(words(content), images, video)

    def video(self, url, body):
        if not self.server.kwargs and "media_io_kwargs" in body:
            raise Refusal(400, "Start the server with --trust-request-mm-kwargs")
        prefix, _, data = url.partition(",")
        assert prefix == "data:video/jpeg;base64"
        frames = data.split(",")
        options = body.get("media_io_kwargs", {}).get("video", {})
        if options.get("num_frames") != -1:
            frames = frames[:32]
        indices = options.get("frames_indices", list(range(len(frames))))
        if len(indices) != len(frames) or options.get("total_num_frames", 10**9) < len(frames):
            raise Refusal(400, "frames_indices length must match number of frames sent")
        times = tuple(each / options.get("fps", 1) for each in indices)
        return Frames(np.stack([picture(each) for each in frames]), times)

    def scores(self, body):
        server = self.server
        is_rerank = self.path == "/rerank"
        query = self.pair_part(body["query" if is_rerank else "queries"], body)
        documents = [self.pair_part(each, body) for each in body["documents"]]
        query = EmbedInput(query.text, query.images, query.video, body.get("instruction"))
        with server.lock:
            scores = server.reranker.score(query, documents)
        if server.change is not None:
            scores = server.change(scores)
        name = "relevance_score" if is_rerank else "score"
        entries = [{"index": index, name: score} for index, score in enumerate(scores)]
        if is_rerank:
            return {"results": sorted(entries, key=lambda each: -each[name])}
        return {"data": entries}

    def pair_part(self, part, body):
        return self.parts(part if isinstance(part, str) else part["content"], body)

    def send(self, status, content, kind="application/json", **headers):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def hang(self):
        """Wait until the test ends."""
        self.server.released.wait(60)


def words(content):
    if isinstance(content, str):
        return content
    texts = [part["text"] for part in content if part["type"] == "text"]
    return "".join(texts) if texts else None


def picture(text):
    """Pixels as a server decodes them; it would shrink none of these sizes."""
    try:
        return np.array(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))
    except OSError as error:
        raise Refusal(400, f"cannot identify image file: {error}") from error


@contextmanager
def serving(embedder=None, reranker=None, **options):
    server = ModelServer(embedder, reranker, **options)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.close_all()
        server.server_close()
        thread.join()


def main():
    from qvsearch.runtime.local import LocalEmbedder, LocalReranker

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.0, help="of pretended work an input")
    given = parser.parse_args()
    with ExitStack() as stack:
        for _ in range(given.servers):
            server = stack.enter_context(
                serving(LocalEmbedder("demo", "cpu"), seconds=given.seconds)
            )
            sys.stdout.write(f"--server {server.url}\n")
        reranker = stack.enter_context(serving(reranker=LocalReranker("demo-reranker", "cpu")))
        sys.stdout.write(f"--rerank-server {reranker.url}\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main()
