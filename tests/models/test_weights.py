"""Models come from a hub's cache, a hub, a folder or the package, and never from anything less."""

import functools
import hashlib
import http.server
import importlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from qvsearch.errors import QvsearchError
from qvsearch.models import registry as weights
from qvsearch.models.registry import MODELS, fingerprint, resolve, verify
from qvsearch.types import Detail

NAME = weights.DEFAULT_MODEL
COMMIT = MODELS[NAME].revision
OTHER = "someone/finetuned"
WANTED = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
OFFLINE = """
import os, sys
def refuse(event, _arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        print(event, file=sys.stderr)
        os._exit(97)
sys.addaudithook(refuse)
"""


# a hub on this machine


@dataclass
class Repository:
    """What a hub holds of one model: its files at its one commit."""

    folder: Path
    commit: str


@dataclass
class Hub:
    """A server that speaks as much of Hugging Face's protocol as a download takes."""

    address: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    failing: str = ""  # the file that it cannot give just now
    damaging: str = ""  # the file of which it sends a wrong byte


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers of a `Hub`, which the server carries as `hub`."""

    def log_message(self, *_arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub: Hub = self.server.hub
        path = self.path.partition("?")[0]
        hub.asked.append(path)
        match = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path)
        if match and match[1] in hub.repositories:
            repository = hub.repositories[match[1]]
            if match[3] in (None, "main", repository.commit):
                return self.send_json(self.tree(repository, is_tree=match[2] == "tree"))
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if match and match[1] in hub.repositories and match[3] != hub.failing:
            return self.send_file(hub.repositories[match[1]], match[3])
        if match and match[3] == hub.failing:
            return self.send_error(507)  # which the client does not try again for half a minute
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        return self.end_headers()

    def tree(self, repository: Repository, *, is_tree: bool) -> object:
        names = [path.name for path in sorted(repository.folder.iterdir())]
        if not is_tree:
            files = [{"rfilename": name} for name in names]
            return {"id": "x/y", "sha": repository.commit, "siblings": files}
        return [entry(repository.folder / name) for name in names]

    def send_json(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_file(self, repository: Repository, name: str) -> None:
        body = bytearray((repository.folder / name).read_bytes())
        body[-5] ^= name == self.server.hub.damaging
        self.send_response(200)
        self.send_header("X-Repo-Commit", repository.commit)
        self.send_header("ETag", f'"{etag(repository.folder / name)}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def etag(path: Path) -> str:
    """Name a file as the hub does: large ones by SHA-256, small ones by git."""
    content = path.read_bytes()
    if path.suffix == ".safetensors":
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def entry(path: Path) -> dict:
    described = {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": etag(path)}
    if path.suffix == ".safetensors":
        described["lfs"] = {"oid": etag(path), "size": path.stat().st_size, "pointerSize": 134}
    return described


@pytest.fixture
def hub(tiny: Path, tmp_path: Path) -> Iterator[Hub]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.hub = Hub(f"http://127.0.0.1:{server.server_port}")
        published = shutil.copytree(tiny, tmp_path / "published")
        for extra in ("README.md", "pytorch_model.bin", "modeling.py"):
            (published / extra).write_text("not wanted")
        server.hub.repositories[NAME] = Repository(published, COMMIT)
        server.hub.repositories[OTHER] = Repository(published, "a" * 40)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.hub
        server.shutdown()
        thread.join()


Ask = Callable[..., subprocess.CompletedProcess]


def settings(tmp_path: Path, hub: Hub | None) -> dict[str, str]:
    """The environment of a client whose cache is empty; without a hub it reaches none."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1"}
    environment["HF_HUB_DISABLE_TELEMETRY"] = "1"
    return environment | {"HF_ENDPOINT": hub.address if hub else "http://127.0.0.1:9"}


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Ask]:
    """Run a program in this process, in which the hub's client reads its settings anew."""
    from huggingface_hub import close_session, constants

    with pytest.MonkeyPatch.context() as patch:

        def run(program: str, hub: Hub | None = None) -> subprocess.CompletedProcess:
            patch.setattr(os, "environ", settings(tmp_path, hub))
            importlib.reload(constants)
            printed, trace = io.StringIO(), ""
            with redirect_stdout(printed):
                try:
                    exec(program, {})
                except QvsearchError:
                    trace = traceback.format_exc()
            close_session()
            return subprocess.CompletedProcess(program, bool(trace), printed.getvalue(), trace)

        yield run
    importlib.reload(constants)


@pytest.fixture
def ask_anew(tmp_path: Path) -> Ask:
    """Run a program in a process of its own."""

    def run(program: str, hub: Hub | None = None) -> subprocess.CompletedProcess:
        command, environment = [sys.executable, "-c", program], settings(tmp_path, hub)
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    return run


def resolving(name: str = NAME) -> str:
    return f"from qvsearch.models.registry import resolve; print(resolve({name!r}).folder)"


def test_a_model_is_downloaded_at_its_pinned_commit_and_nothing_else_with_it(
    hub: Hub, ask: Ask, tiny: Path
) -> None:
    folder = Path(ask(resolving(), hub).stdout.strip())
    assert folder.name == COMMIT
    assert (folder / "model.safetensors").read_bytes() == (tiny / "model.safetensors").read_bytes()
    fetched = {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path}
    assert fetched == WANTED
    assert all(f"/resolve/{COMMIT}/" in path for path in hub.asked if "/resolve/" in path)


def test_a_model_that_is_here_is_loaded_without_any_network(
    hub: Hub, ask: Ask, ask_anew: Ask
) -> None:
    assert ask(resolving(), hub).returncode == 0
    hub.asked.clear()
    program = f"""
from qvsearch.runtime.local import LocalEmbedder
from qvsearch.types import EmbedInput
print(LocalEmbedder({NAME!r}, device="cpu").embed([EmbedInput("a dog")]).shape)
"""
    answer = ask_anew(OFFLINE + program, hub)
    assert (answer.returncode, answer.stdout) == (0, "(1, 64)\n"), answer.stderr
    assert hub.asked == []
    assert ask_anew(OFFLINE + resolving(), None).returncode == 0


def test_a_broken_download_keeps_what_arrived_and_fetches_the_rest(
    hub: Hub, ask: Ask, tmp_path: Path
) -> None:
    hub.failing = "model.safetensors"
    broken = ask(resolving(), hub)
    assert "QvsearchError: the model" in broken.stderr.strip().splitlines()[-1]
    # the client fetches several files at once, in their order, and begins no more after a failure
    arrived = {path.name for path in (tmp_path / "cache").glob(f"**/snapshots/{COMMIT}/*")}
    assert "config.json" in arrived
    hub.failing = ""
    hub.asked.clear()
    whole = ask(resolving(), hub)
    assert Path(whole.stdout.strip()).name == COMMIT, whole.stderr
    fetched = {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path}
    assert fetched == WANTED - arrived
    sound = ask(f"from qvsearch.models.registry import verify; print(verify({NAME!r}))")
    assert sound.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_download_that_arrives_damaged_is_refused_and_fetched_anew(
    hub: Hub, ask: Ask, name: str
) -> None:
    hub.damaging = name
    said = ask(resolving(), hub).stderr.strip().splitlines()[-1]
    assert f"QvsearchError: {name} of the model {NAME} arrived damaged" in said
    assert "is not on this computer" in ask(resolving()).stderr
    hub.damaging = ""
    hub.asked.clear()
    assert Path(ask(resolving(), hub).stdout.strip()).name == COMMIT
    fetched = {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path}
    assert fetched == {name}
    sound = ask(f"from qvsearch.models.registry import verify; print(verify({NAME!r}))")
    assert sound.stdout.strip() == "[]"


def test_half_a_download_is_no_model(hub: Hub, ask: Ask) -> None:
    folder = Path(ask(resolving(), hub).stdout.strip())
    (folder / "model.safetensors").unlink()
    answer = ask(f"from qvsearch.models.registry import verify; verify({NAME!r})")
    assert f"QvsearchError: the model {NAME} is not on this computer; with" in answer.stderr


def test_an_unpinned_model_stays_at_the_commit_that_was_first_seen(
    hub: Hub, ask: Ask, ask_anew: Ask
) -> None:
    first = ask(resolving(OTHER), hub).stdout
    assert Path(first.strip()).name == "a" * 40
    hub.repositories[OTHER].commit = "b" * 40
    assert ask_anew(OFFLINE + resolving(OTHER), hub).stdout == first


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        (NAME, "name a copy: --model FOLDER; or try it first: qvsearch demo"),
        (
            weights.DEFAULT_RERANKER,
            "name a copy: --reranker FOLDER; or try qvsearch with --reranker demo-reranker",
        ),
    ],
)
def test_without_a_network_a_sentence_says_what_to_do(ask: Ask, name: str, way_out: str) -> None:
    answer = ask(resolving(name))
    last = answer.stderr.strip().splitlines()[-1]
    assert last.startswith(f"qvsearch.errors.QvsearchError: the model {name} is not on this comp")
    assert last.endswith(f"run: qvsearch models pull {name}; or {way_out}")
    assert "Connection refused" in last


def test_a_model_that_the_hub_does_not_have_is_said(hub: Hub, ask: Ask) -> None:
    answer = ask(resolving("someone/nothing"), hub)
    assert "Hugging Face has no model of that name" in answer.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_verify_names_the_file_whose_bytes_changed(hub: Hub, ask: Ask, suffix: str) -> None:
    folder = Path(ask(resolving(), hub).stdout.strip())
    name = "model.safetensors" if suffix == ".safetensors" else "tokenizer.json"
    blob = (folder / name).resolve()
    content = bytearray(blob.read_bytes())
    content[-5] ^= 1
    blob.write_bytes(content)
    answer = ask(f"from qvsearch.models.registry import verify; print(*verify({NAME!r}))")
    assert answer.stdout == f"{name}: its content is not what the hub sent (hash mismatch)\n"


def test_hubs_are_told_apart_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(QvsearchError, match="no hub 'github'; there are huggingface, modelscope"):
        resolve(NAME, hub="github")


@pytest.mark.skipif("modelscope" in sys.modules, reason="modelscope is installed")
def test_without_modelscopes_client_its_installation_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("qvsearch.models.hubs.find_spec", lambda _name: None)
    with pytest.raises(QvsearchError, match="pip install modelscope; with a network"):
        resolve(NAME, hub="modelscope")


def test_modelscopes_client_is_asked_for_the_same_files(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = shutil.copytree(tiny, tmp_path / "snapshots" / "master")
    asked = []

    def snapshot_download(model_id, *, allow_patterns, local_files_only):
        asked.append((model_id, local_files_only))
        assert "*.safetensors" in allow_patterns
        if local_files_only:
            raise ValueError("not in the cache")
        return str(published)

    client, errors = ModuleType("modelscope"), ModuleType("modelscope_hub.errors")
    client.snapshot_download, client.__spec__ = snapshot_download, object()
    errors.HubError = type("HubError", (Exception,), {})
    monkeypatch.setitem(sys.modules, "modelscope", client)
    monkeypatch.setitem(sys.modules, "modelscope_hub", ModuleType("modelscope_hub"))
    monkeypatch.setitem(sys.modules, "modelscope_hub.errors", errors)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    found = resolve(NAME, hub="modelscope")
    assert asked == [(NAME, True), (NAME, False)]
    assert (found.folder, found.name) == (published, NAME)
    assert found.revision == resolve(str(tiny)).revision


# local folders


def test_a_folder_is_known_by_what_it_holds(tiny: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny, tmp_path / "copy")
    original = resolve(str(tiny))
    assert (original.folder, original.name) == (tiny, str(tiny))
    assert resolve(str(copy)).revision == original.revision
    (copy / "README.md").write_text("about it")
    assert resolve(str(copy)).revision == original.revision


def change_tensor(folder: Path, name: str) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors[name] += 0.01
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def change_json(folder: Path, file: str, **values: object) -> None:
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(content | values))


@pytest.mark.parametrize(
    "change",
    [
        functools.partial(change_tensor, name="model.visual.merger.linear_fc2.bias"),
        functools.partial(
            change_tensor, name="model.language_model.layers.3.self_attn.k_proj.weight"
        ),
        functools.partial(change_json, file="config.json", image_token_id=1),
        functools.partial(change_json, file="tokenizer.json", post_processor=None),
    ],
)
def test_a_changed_checkpoint_has_another_revision(
    tiny: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    copy = shutil.copytree(tiny, tmp_path / "copy")
    change(copy)
    assert resolve(str(copy)).revision != resolve(str(tiny)).revision


def only_pickles(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def lost_shard(folder: Path) -> None:
    weight_map = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors").rename(folder / weight_map["a"])
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def cut_json(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type":')


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (functools.partial(change_json, file="config.json", auto_map={}), "own code .auto_map"),
        (
            functools.partial(change_json, file="tokenizer_config.json", auto_map={}),
            r"own code .auto_map",
        ),
        (
            functools.partial(change_json, file="config.json", model_type="qwen2_vl"),
            "holds a model of type 'qwen2_vl'; qvsearch takes Qwen3-VL-Embedding",
        ),
        (only_pickles, r"only pickled weights .pytorch_model\.bin., which can run code"),
        (lost_shard, r"incomplete: it lacks model-00002-of-00002\.safetensors$"),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"it lacks tokenizer\.json$"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"it lacks model\.safetensors$"),
        (lambda folder: (folder / "config.json").unlink(), r"it has no config\.json$"),
        (cut_json, r"config\.json cannot be read: Expecting value"),
    ],
)
def test_a_folder_that_is_no_checkpoint_is_refused_with_the_reason(
    tiny: Path, tmp_path: Path, change: Callable[[Path], None], sentence: str
) -> None:
    folder = shutil.copytree(tiny, tmp_path / "copy")
    change(folder)
    with pytest.raises(QvsearchError, match=sentence):
        resolve(str(folder))


@pytest.mark.parametrize("name", ["2b", "./missing", "a/b/c", "\n", "-x/y", "http://a/b"])
def test_a_name_that_can_be_no_model_is_said_without_asking_a_hub(name: str) -> None:
    with pytest.raises(QvsearchError, match="it is neither 'demo' nor 'demo-reranker', nor a"):
        resolve(name)


def test_verify_finds_a_folders_cut_and_mixed_up_shards(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "copy")
    assert verify(str(folder)) == []
    whole = (folder / "model.safetensors").read_bytes()
    index = {"weight_map": {"model.nowhere": "model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert verify(str(folder)) == ["model.safetensors: lacks the tensor model.nowhere"]
    (folder / "model.safetensors").write_bytes(whole[:-7])
    [line] = verify(str(folder))
    assert line.startswith("model.safetensors: ")


# the table


def test_every_model_of_the_table_is_pinned_to_a_whole_commit() -> None:
    assert {weights.DEFAULT_MODEL, weights.DEFAULT_RERANKER} <= MODELS.keys()
    assert all(re.fullmatch("[0-9a-f]{40}", model.revision) for model in MODELS.values())


def test_models_are_listed_with_where_they_are(hub: Hub, ask: Ask, ask_anew: Ask) -> None:
    program = """
from qvsearch.models.registry import list_models
for model in list_models():
    print(model.name, model.role, model.folder is not None)
"""
    before = ask_anew(OFFLINE + program)
    listed = [f"{name} {model.role} False" for name, model in MODELS.items()]
    assert before.stdout.splitlines() == [
        "demo embedder True",
        "demo-reranker reranker True",
        *listed,
    ], before.stderr
    ask(resolving(), hub)
    assert f"{NAME} embedder True" in ask_anew(OFFLINE + program).stdout.splitlines()


def test_the_fingerprint_names_what_decides_a_vector(tiny: Path) -> None:
    found = resolve(str(tiny))
    made = fingerprint(found, 64, Detail.LOW)
    assert (made.model, made.revision, made.dim) == (str(tiny), found.revision, 64)
    assert (made.detail, made.instruction) == (Detail.LOW, "Represent the user's input.")


def test_naming_a_model_loads_no_library() -> None:
    program = """
import sys
import qvsearch.models.registry
assert not {"numpy", "torch", "transformers", "huggingface_hub", "safetensors"} & set(sys.modules)
import os
assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
"""
    subprocess.run([sys.executable, "-c", program], check=True)
