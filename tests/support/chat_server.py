"""A scripted OpenAI-compatible server on the loopback interface, with real sockets.

Run as a program it answers every question by citing the first source, for trying things out.
"""

import json
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = "scripted"


class Server(ThreadingHTTPServer):
    """Answers each POST as the script does; `requests` are the bodies and `keys` the headers."""

    daemon_threads = True

    def __init__(self, script, models=(MODEL,)):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script, self.models = script, models
        self.requests, self.keys, self.paths = [], [], []
        self.released = threading.Event()

    def handle_error(self, *_):
        """Leave out what the client's end of a connection raises here."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.paths.append(self.path)
        self.server.keys.append(self.headers.get("Authorization"))
        self.send(200, {"object": "list", "data": [{"id": each} for each in self.server.models]})

    def do_POST(self):
        self.server.paths.append(self.path)
        self.server.keys.append(self.headers.get("Authorization"))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append(json.loads(body))
        self.server.script(self)

    def send(self, status, content, kind="application/json", **headers):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def begin_stream(self):
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()

    def event(self, content):
        self.wfile.write(b"data: " + json.dumps(content).encode() + b"\n\n")
        self.wfile.flush()

    def hang(self):
        """Wait until the test ends."""
        self.server.released.wait(60)


def piece(text, finish=None):
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 40, "completion_tokens": 7}}


def streaming(*texts, finish="stop"):
    """A script that streams these texts, the usage and the end."""

    def script(handler):
        handler.begin_stream()
        handler.event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        for text in texts:
            handler.event(piece(text))
        handler.event(piece("", finish))
        handler.event(USAGE)
        handler.wfile.write(b"data: [DONE]\n\n")

    return script


@contextmanager
def serving(script, **options):
    server = Server(script, **options)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    with serving(streaming("The first source ", "shows it [1].")) as running:
        sys.stdout.write(f"{running.url}\n")
        sys.stdout.flush()
        threading.Event().wait()
