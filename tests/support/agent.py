"""An agent: the SDK's own client, talking to `qvsearch mcp` over pipes or in this process."""

import os
import sys
from contextlib import contextmanager
from functools import partial

import jsonschema
from anyio.from_thread import start_blocking_portal
from mcp import Client, StdioServerParameters, stdio_client

from qvsearch.mcp.reading import Reader
from qvsearch.mcp.server import make_server
from qvsearch.retrieval.shelf import Shelf

COMMAND = [sys.executable, "-m", "qvsearch", "mcp"]


def parameters(folder, *arguments, **variables):
    """How a client starts the server: with few variables, and all of the user's in a folder."""
    kept = ("PYTHONPATH", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    own = {name: str(folder / name) for name in ("HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR")}
    command, *first = COMMAND
    words = [*first, *map(str, arguments)]
    return StdioServerParameters(command=command, args=words, env=environment | own | variables)


class Agent:
    """A connected client whose calls wait for their answers."""

    def __init__(self, portal, client, log=None):
        self._portal = portal
        self.client = client
        self._log = log
        self.tools = {each.name: each for each in self.do(client.list_tools).tools}

    def do(self, function, *arguments, **options):
        return self._portal.call(partial(function, *arguments, **options))

    def call(self, name, arguments=None, **more):
        """The result of a call; a structured one matches its schema, which has all its fields."""
        result = self.do(self.client.call_tool, name, (arguments or {}) | more)
        schema = self.tools[name].output_schema
        if schema is not None and not result.is_error:
            jsonschema.validate(result.structured_content, closed(schema))
        return result

    def answer(self, name, arguments=None, **more):
        result = self.call(name, arguments, **more)
        assert not result.is_error, result.content[0].text
        return result.structured_content

    def error(self, name, arguments=None, **more):
        result = self.call(name, arguments, **more)
        assert result.is_error, result.content[0].text
        assert result.structured_content is None
        (block,) = result.content
        return block.text

    @property
    def messages(self):
        """What the server wrote to standard error."""
        self._log.seek(0)
        return self._log.read()


def closed(schema):
    """A schema that allows no field beside those that it names."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    stricter = {name: closed(each) for name, each in schema.items()}
    if isinstance(schema.get("properties"), dict):
        stricter["additionalProperties"] = False
    return stricter


@contextmanager
def connected(folder, *arguments, mode="auto", **variables):
    """Start the server with some arguments and connect; its standard error goes to a log."""
    with (
        (folder / "log").open("w+") as log,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(
            Client(stdio_client(parameters(folder, *arguments, **variables), errlog=log), mode=mode)
        ) as client,
    ):
        yield Agent(portal, client, log)


@contextmanager
def in_process(*libraries):
    """Connect to a server in this process, which has loaded what a model needs."""
    with (
        Reader() as reader,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Client(make_server(Shelf(libraries), reader))) as client,
    ):
        yield Agent(portal, client)
