"""Rules that the package's source keeps, read from its syntax trees.

Proves that nothing in it can run what a file says, that no value is checked by an `assert` that
Python may leave out, that models are loaded from this disk or at a commit, that one module alone
speaks to the network, that numbers of the prompt stand in one place, and that the libraries'
telemetry is off.
"""

import ast
import os
import re
import subprocess
import sys

import pytest
from support.modules import MODULES, nodes, syntax_trees

NEVER_IMPORTED = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "code", "pty"}
NEVER_CALLED = {
    *("eval", "exec", "compile", "__import__"),
    *("os.system", "os.popen", "tempfile.mktemp", "yaml.load", "yaml.unsafe_load"),
    *("torch.load", "torch.hub.load", "torch.jit.load", "faiss.read_index", "faiss.write_index"),
    *("importlib.reload", "runpy.run_path", "runpy.run_module"),
}
# what can reach another machine; sockets of this one are warm processes'
NETWORK = {"urllib.request", "http.client", "http.server", "ftplib", "smtplib", "ssl", "requests"}
NETWORK |= {"httpx", "httpx2", "aiohttp", "urllib3", "huggingface_hub", "modelscope"}
NETWORK |= {"modelscope_hub", "socketserver", "asyncio", "xmlrpc", "webbrowser"}


def imports(tree):
    """Every dotted name that a module imports, those of `from` with and without what they name."""
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def aliases(tree):
    """What each imported name stands for."""
    found = {}
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return found


def dotted(node, names):
    """The whole name of an expression such as `np.load`; None of any other expression."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        before = dotted(node.value, names)
        return None if before is None else f"{before}.{node.attr}"
    return None


def uses(tree):
    """Every name that is used, called or not, with its node: an alias would be a call as well."""
    names = aliases(tree)
    for node in nodes(tree):
        if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
            name = dotted(node, names)
            if name is not None:
                yield name, node


def calls(tree):
    names = aliases(tree)
    for node in nodes(tree):
        if isinstance(node, ast.Call):
            yield dotted(node.func, names) or ast.unparse(node.func), node


def given(call, name):
    """The constant that a call gives by keyword; None where it gives none."""
    found = [each.value for each in call.keywords if each.arg == name]
    return found[0].value if found and isinstance(found[0], ast.Constant) else None


def broken_rules(tree):
    """Say of a module, a line each, what it must not do."""
    for name in imports(tree):
        if name.partition(".")[0] in NEVER_IMPORTED:
            yield f"imports {name}"
    for name, node in uses(tree):
        if name in NEVER_CALLED:
            yield f"{node.lineno}: uses {name}"
    yield from loose_calls(tree)
    yield from loaded_from_anywhere(tree)
    for node in nodes(tree):
        if isinstance(node, ast.Assert) and not is_for_the_type_checker(node):
            yield f"{node.lineno}: an assert, which `python -O` leaves out"
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"{node.lineno}: a bare except"


def loose_calls(tree):
    """Say which calls have, or lack, the option that makes them safe."""
    for name, call in calls(tree):
        options = {each.arg for each in call.keywords}
        for option in ("shell", "trust_remote_code"):
            if option in options and given(call, option) is not False:
                yield f"{call.lineno}: {option}"
        if name == "numpy.load" and given(call, "allow_pickle") is not False:
            yield f"{call.lineno}: arrays that may be pickled"
        if name.endswith("snapshot_download") and "local_files_only" not in options:
            yield f"{call.lineno}: a download that asks even for what is here"


def is_for_the_type_checker(node):
    """`assert stream is not None`, of what cannot be None."""
    test = node.test
    return isinstance(test, ast.Compare) and ast.unparse(test).endswith(" is not None")


def loaded_from_anywhere(tree):
    """Say where `from_pretrained`, or a name given to it, is called with leave to download."""
    loaders = set()
    for node in nodes(tree):
        value = getattr(node, "value", None)
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and is_loader(value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            loaders |= {target.id for target in targets}
    known = 0
    for node in nodes(tree):
        if not isinstance(node, ast.Call):
            continue
        named = isinstance(node.func, ast.Name) and node.func.id in loaders
        if named or is_loader(node.func):
            known += 1
            if given(node, "local_files_only") is not True:
                yield f"{node.lineno}: a model that may be downloaded unpinned"
    if sum(map(is_loader, nodes(tree))) > known:
        yield "from_pretrained goes where nobody sees it called"


def is_loader(node):
    return isinstance(node, ast.Attribute) and node.attr == "from_pretrained"


@pytest.mark.parametrize("name", MODULES)
def test_no_module_does_what_none_may(name, tally):
    assert list(broken_rules(syntax_trees()[name])) == []
    tally["modules that keep the rules for the source"] += 1


BREACHES = [
    "import pickle",
    "from marshal import loads",
    "def f(s): return eval(s)",
    "run = exec",
    "import os\nos.system('ls')",
    "from os import system as s\ns('ls')",
    "import subprocess\nsubprocess.run('ls', shell=True)",
    "import subprocess\nsubprocess.run('ls', shell=flag)",
    "import torch as t\nt.load('x')",
    "import numpy as np\nnp.load('x')",
    "import numpy as np\nnp.load('x', allow_pickle=True)",
    "from numpy import load\nload('x')",
    "AutoModel.from_pretrained('x')",
    "AutoModel.from_pretrained('x', local_files_only=local)",
    "AutoModel.from_pretrained('x', local_files_only=True, trust_remote_code=True)",
    "load = AutoModel.from_pretrained\nload('x')",
    "f(AutoModel.from_pretrained)",
    "import huggingface_hub\nhuggingface_hub.snapshot_download('x')",
    "import yaml\nyaml.load('x')",
    "from tempfile import mktemp\nmktemp()",
    "assert 0 < number",
    "try:\n    f()\nexcept:\n    pass",
]
ALLOWED = """
import subprocess, re, numpy as np
re.compile("x")
subprocess.run(["ls"], shell=False)
np.load("x", allow_pickle=False)
load = AutoModel.from_pretrained
load("x", local_files_only=True)
assert pipe is not None
"""


@pytest.mark.parametrize("source", BREACHES)
def test_a_breach_would_be_noticed(source, tally):
    assert list(broken_rules(ast.parse(source)))
    tally["breaches of these rules noticed"] += 1


def test_what_is_harmless_is_allowed():
    assert list(broken_rules(ast.parse(ALLOWED))) == []


def constants(tree):
    """The names that a module gives values to at its top."""
    for node in tree.body:
        for target in node.targets if isinstance(node, ast.Assign) else []:
            yield from (each.id for each in ast.walk(target) if isinstance(each, ast.Name))


def test_what_a_prompt_measures_is_said_in_one_place():
    public = {
        name
        for name in constants(syntax_trees()["qvsearch.models.prompt"])
        if not name.startswith("_")
    }
    assert "PROMPT_TOKENS" in public
    others = {
        name: tree for name, tree in syntax_trees().items() if name != "qvsearch.models.prompt"
    }
    assert [(name, again) for name in others for again in public & {*constants(others[name])}] == []


def test_hubs_urls_given_in_python_and_the_users_servers_alone_are_reached_over_the_network():
    speakers = {
        name
        for name, tree in syntax_trees().items()
        if any(each in NETWORK or each.partition(".")[0] in NETWORK for each in imports(tree))
    }
    # the servers of --chat-server and --server, which the user names; a file or a hit never does
    assert speakers == {
        "qvsearch.models.hubs",
        "qvsearch.compat.download",
        "qvsearch.http_servers",
        "qvsearch.tasks.answers.chat",
        "qvsearch.runtime.remote.http",
        "qvsearch.runtime.llama.process",  # at a socket of the file system
        # they serve this computer, and others only if the user names a host
        "qvsearch.web.connections",
        "qvsearch.web.guard",
        "qvsearch.cli.serve",  # opens the browser
        "qvsearch.distributed.cluster",  # the cluster that the user names with --ray
    }
    readers = [
        name
        for name, tree in syntax_trees().items()
        if "qvsearch.tasks.answers.chat" in {*imports(tree)}
    ]
    assert readers == ["qvsearch", "qvsearch.cli.ask"]
    others = {name: tree for name, tree in syntax_trees().items() if ".compat" not in name}
    assert [name for name in others if "qvsearch.compat" in {*imports(others[name])}] == []


def test_sockets_are_of_this_machine_except_those_of_the_server():
    trees = {name: tree for name, tree in syntax_trees().items() if name != "qvsearch.web.serving"}
    families = [
        [dotted(each, {}) for each in call.args]
        for tree in trees.values()
        for name, call in calls(tree)
        if name in ("socket.socket", "socket.socketpair")
    ]
    assert families
    assert all(given == ["socket.AF_UNIX"] for given in families)
    reaching = {"create_connection", "create_server", "getaddrinfo", "gethostbyname", "fromfd"}
    named = {name for tree in trees.values() for name, _ in uses(tree)}
    assert not {f"socket.{name}" for name in reaching} & named


def test_hugging_face_is_asked_for_a_commit():
    (download,) = [
        node
        for node in nodes(syntax_trees()["qvsearch.models.hubs"])
        if isinstance(node, ast.FunctionDef) and node.name == "_hugging_face"
    ]
    fetching = [call for name, call in calls(download) if "snapshot_download" in name]
    assert fetching
    assert all("revision" in {each.arg for each in call.keywords} for call in fetching)


def test_nothing_that_a_hub_sends_can_run():
    from qvsearch.models.hubs import FILES

    endings = {pattern.rpartition(".")[2] for pattern in FILES}
    assert endings == {"safetensors", "json", "txt"}
    assert all(re.fullmatch(r"\*?[\w.]+", pattern) for pattern in FILES)


TELEMETRY = """
import qvsearch.models
from huggingface_hub import constants
from huggingface_hub.utils import _telemetry
print(constants.HF_HUB_DISABLE_TELEMETRY)
"""


def test_telemetry_is_off_before_any_library_could_send_it():
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY", "DO_NOT_TRACK")
    }
    command = [sys.executable, "-c", TELEMETRY]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "True\n"
