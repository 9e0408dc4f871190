"""The drop-in classes give what the published classes give, for every form of input.

The comparison is with plain transformers and qwen-vl-utils, and with the published code itself
where QVSEARCH_UPSTREAM names its checkout:

    QVSEARCH_UPSTREAM=~/Qwen3-VL-Embedding pytest tests/models/test_compat.py
"""

import base64
import http.server
import os
import shutil
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from support.moving_videos import moving
from support.videos import make

from qvsearch.compat import Qwen3VLEmbedder, Qwen3VLReranker
from qvsearch.compat import download as downloading
from qvsearch.connections import is_public
from qvsearch.errors import QvsearchError

pytest.importorskip("torchvision", reason="qwen-vl-utils needs torchvision")

UPSTREAM = os.environ.get("QVSEARCH_UPSTREAM")


def picture(width=70, height=50, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height))


@pytest.fixture
def files(tmp_path):
    for number in range(3):
        picture(90 + 20 * number, 64, number).save(tmp_path / f"{number}.png")
    return [str(tmp_path / f"{number}.png") for number in range(3)]


def forms(files):
    frames = [picture(96, 64, seed) for seed in range(5)]
    return {
        "text": {"text": "a dog on a beach"},
        "texts": {"text": ["a dog", "on a beach"]},
        "empty text": {"text": ""},
        "nothing": {},
        "picture": {"image": picture()},
        "path": {"image": files[0]},
        "pictures and paths": {"image": [picture(), files[1]]},
        "data": {"image": data_url(files[2])},
        "transparent": {"image": picture().convert("RGBA")},
        "text and picture": {"text": "at night", "image": files[2], "instruction": "Find it"},
        "frames": {"video": frames},
        "odd frames and text": {"video": frames[:3], "text": "a clip"},
        "frames by path": {"video": files},
        "several videos": {"video": [frames[:2], frames[2:]]},
        "all": {"video": frames[:2], "image": files[0], "text": "a", "instruction": "Find clips."},
        "many frames": {"video": frames * 4, "max_frames": 3},
    }


def data_url(path):
    return "data:image/png;base64," + base64.b64encode(Path(path).read_bytes()).decode()


NAMES = list(forms(["a.png", "b.png", __file__]))


def messages_of(source, limits):
    """Say the content of one dictionary as the published classes do."""

    def listed(value):
        return [] if value is None else value if isinstance(value, list) else [value]

    def place(value):
        return value if not isinstance(value, str) or value[:5] == "data:" else "file://" + value

    videos = listed(source.get("video"))
    if videos and not isinstance(videos[0], list) and source["video"] is not videos[0]:
        videos = [videos]
    content = []
    for frames in videos:
        if isinstance(frames, str):
            video = {"type": "video", "video": place(frames)}
            limit = {"fps": source.get("fps", 1), "max_frames": limits["max_frames"]}
            content.append(video | limit)
            continue
        most = limits["max_frames"]
        if len(frames) > most:
            frames = [frames[i] for i in np.linspace(0, len(frames) - 1, most, dtype=int)]
        video = {"type": "video", "video": [place(each) for each in frames]}
        content.append(video | {"total_pixels": limits["total_pixels"]})
    for image in listed(source.get("image")):
        part = {"type": "image", "image": place(image)}
        content.append(part | {n: limits[n] for n in ("min_pixels", "max_pixels")})
    content += [{"type": "text", "text": text} for text in listed(source.get("text"))]
    return content or [{"type": "text", "text": "NULL"}]


def plain_inputs(reference, messages):
    """Let qwen-vl-utils and transformers prepare one conversation."""
    from qwen_vl_utils import process_vision_info

    images, clips, options = process_vision_info(
        [messages], image_patch_size=16, return_video_metadata=True, return_video_kwargs=True
    )
    prompt = reference.prompt(messages)
    if clips:
        prompt = reference.without_second_pair(prompt)
        clips, metadata = zip(*clips, strict=True)
        options |= {"videos": list(clips), "video_metadata": list(metadata)}
    return reference._processed(text=[prompt], images=images, **options)


def text(words):
    return {"type": "text", "text": words}


def process_with_plain_classes(reference, source, limits):
    instruction = source.get("instruction") or "Represent the user's input."
    instruction += "" if instruction.endswith(".") else "."
    messages = [
        {"role": "system", "content": [text(instruction)]},
        {"role": "user", "content": messages_of(source, limits)},
    ]
    return reference.embed(plain_inputs(reference, messages))[0]


def pair_for_plain_classes(reference, query, document):
    instruct = "Given a search query, retrieve relevant candidates that answer the query."
    judge = (
        "Judge whether the Document meets the requirements based on the Query and the Instruct"
        ' provided. Note that the answer can only be "yes" or "no".'
    )
    content = [text(f"<Instruct>: {instruct}"), text("<Query>:"), *messages_of(query, LIMITS)]
    content += [text("\n<Document>:"), *messages_of(document, LIMITS)]
    messages = [{"role": "system", "content": [text(judge)]}, {"role": "user", "content": content}]
    return plain_inputs(reference, messages)


LIMITS = {
    "min_pixels": 4 * 1024,
    "max_pixels": 1800 * 1024,
    "total_pixels": 7680 * 1024,
    "max_frames": 64,
}


@pytest.fixture(scope="module")
def embedder(tiny):
    return Qwen3VLEmbedder(tiny, torch_dtype=torch.float32)


@pytest.fixture(scope="module")
def plain(tiny):
    from support.reference import Reference

    return Reference.load(tiny)


@pytest.mark.parametrize("name", NAMES)
def test_embeddings_are_those_of_the_plain_classes(embedder, plain, files, name):
    source = forms(files)[name]
    ours = embedder.process([source])[0]
    limits = LIMITS | {"max_frames": source.get("max_frames", 64)}
    if name == "many frames":  # the published class reads its own limit for lists of frames
        limits = LIMITS
    expected = process_with_plain_classes(plain, source, limits)
    assert torch.max(torch.abs(ours - expected)) < 1e-5


def test_a_batch_is_each_input_in_its_order(embedder, files):
    inputs = list(forms(files).values())
    together = embedder.process(inputs)
    assert together.shape[0] == len(inputs)
    alone = torch.cat([embedder.process([each]) for each in inputs])
    assert torch.max(torch.abs(together - alone)) < 1e-5


def test_rows_have_their_own_length_unless_normalized(embedder):
    raw = embedder.process([{"text": "a dog"}], normalize=False)
    unit = embedder.process([{"text": "a dog"}])
    assert not torch.allclose(raw.norm(), torch.tensor(1.0))
    assert torch.allclose(raw / raw.norm(), unit, atol=1e-6)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Eleven seconds at 10 frames a second."""
    path = tmp_path_factory.mktemp("film") / "a.mp4"
    make(path, moving(3, 11.0, 10))
    return str(path)


@pytest.fixture
def reader(monkeypatch):
    """Let qwen-vl-utils read videos again: torchvision has lost its reader."""
    from qwen_vl_utils import vision_process

    def read(element):
        with av.open(element["video"].removeprefix("file://")) as container:
            rate = float(container.streams.video[0].average_rate)
            frames = [each.to_ndarray(format="rgb24") for each in container.decode(video=0)]
        count = vision_process.smart_nframes(element, total_frames=len(frames), video_fps=rate)
        chosen = torch.linspace(0, len(frames) - 1, count).round().long().tolist()
        video = torch.from_numpy(np.stack([frames[index] for index in chosen]))
        metadata = {"fps": rate, "frames_indices": chosen, "total_num_frames": len(frames)}
        return video.permute(0, 3, 1, 2), metadata, count / len(frames) * rate

    monkeypatch.setitem(vision_process.VIDEO_READER_BACKENDS, "torchvision", read)
    monkeypatch.setattr(vision_process, "get_video_reader_backend", lambda: "torchvision")


@pytest.mark.parametrize("extra", [{}, {"text": "a square"}, {"fps": 0.5}, {"max_frames": 5}])
@pytest.mark.usefixtures("reader")
def test_a_film_is_embedded_as_by_the_plain_classes(embedder, plain, film, extra):
    source = {"video": film, **extra}
    limits = LIMITS | {"max_frames": extra.get("max_frames", 64)}
    expected = process_with_plain_classes(plain, source, limits)
    assert torch.max(torch.abs(embedder.process([source])[0] - expected)) < 1e-5


@pytest.mark.parametrize("seconds", [10.0, 11.0])  # 7,920 tokens of pixels, and more than 8,192
def test_a_film_that_is_too_long_for_the_model_is_made_smaller(embedder, tmp_path, seconds):
    """The published class fails there: it gives the frames of files no common limit."""
    path = tmp_path / "large.mp4"
    large = [np.kron(each, np.ones((4, 4, 1), np.uint8)) for each in moving(3, seconds, 4)]
    make(path, large, rate=4)
    assert embedder.process([{"video": str(path), "fps": 4}]).shape == (1, 64)


@pytest.fixture(scope="module")
def reranker(tiny):
    return Qwen3VLReranker(tiny, torch_dtype="float32")


@pytest.fixture(scope="module")
def generator(tiny):
    from support.reference import load_generator

    return load_generator(tiny)


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_the_plain_classes(reranker, plain, generator, files, name):
    from support.reference import logit_difference

    document = forms(files)[name]
    inputs = pair_for_plain_classes(plain, {"text": "a dog", "image": files[1]}, document)
    logit = logit_difference(generator, inputs, plain.processor.tokenizer)
    query = {"text": "a dog", "image": files[1]}
    [score] = reranker.process({"query": query, "documents": [document]})
    assert abs(score - 1 / (1 + np.exp(-logit))) < 1e-4


def test_nothing_to_score_is_no_score(reranker):
    assert reranker.process({"query": {"text": "a"}, "documents": []}) == []
    assert reranker.process({"documents": [{"text": "a"}]}) == []


def test_the_query_may_bring_its_instruction(reranker):
    documents = [{"text": "a dog"}]
    pair = {"query": {"text": ("Find cats.", "a")}, "documents": documents}
    named = {"query": {"text": "a"}, "instruction": "Find cats.", "documents": documents}
    plain = {"query": {"text": "a"}, "documents": documents}
    assert reranker.process(pair) == reranker.process(named) != reranker.process(plain)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"image": "/nowhere/a.png"}, "input 1: /nowhere/a.png: No such file"),
        ({"image": __file__}, "input 1: not a picture that Pillow reads"),
        ({"image": 5}, "an image is of type int"),
        ({"text": 5}, "a text of input 1 is of type int"),
        ({"video": "/nowhere/a.mp4"}, "input 1: /nowhere/a.mp4: No such file"),
        ({"video": __file__}, "not a video"),
        ({"video": []}, None),
        ({"words": "a"}, "input 1 has none of the keys"),
        ({"video": [[], None]}, None),
        ({"id": 7, "text": "a"}, None),
        ({"video": [5]}, "a video is of type int"),
        ({"video": [picture(), picture(400, 60)]}, "input 1: "),
        ({"video": __file__, "fps": "x"}, "input 1: fps is 'x'"),
        ({"text": "a", "instruction": 5}, "the instruction of input 1 is of type int"),
        ("a dog", "input 1 is of type str"),
        ({"image": Image.new("RGB", (4000, 4))}, "input 1: .*aspect ratio"),
    ],
)
def test_a_bad_input_is_named_and_replaced_by_nothing(embedder, source, reason):
    inputs = [{"text": "a"}, source]
    if reason is None:
        assert embedder.process(inputs).shape == (2, 64)
        return
    with pytest.raises(QvsearchError, match=reason):
        embedder.process(inputs)


@pytest.mark.parametrize("argument", [{"fps": 0}, {"max_frames": -1}, {"min_pixels": 10**9}])
def test_a_bad_setting_is_named(tiny, argument):
    with pytest.raises(QvsearchError, match=next(iter(argument))):
        Qwen3VLEmbedder(tiny, **argument)


def test_arguments_have_the_published_order(tiny):
    one = Qwen3VLEmbedder(tiny, 8192, 4096, 65536, 7864320, 2, 32, "Find it.")
    assert (one.limits.min_pixels, one.limits.max_pixels) == (4096, 65536)
    assert (one.limits.fps, one.limits.max_frames) == (2, 32)
    assert one.default_instruction == "Find it."


def test_inputs_may_be_a_generator(embedder):
    texts = ["a", "b"]
    rows = embedder.process({"text": each} for each in texts)
    assert torch.equal(rows, embedder.process([{"text": each} for each in texts]))


@pytest.mark.parametrize(
    "pair",
    [
        [],
        {"query": "a", "documents": [{"text": "b"}]},
        {"query": {"text": "a"}, "documents": ["b"]},
    ],
)
def test_a_pair_of_another_form_is_named(reranker, pair):
    with pytest.raises(QvsearchError, match="give a dictionary"):
        reranker.process(pair)


def test_one_dictionary_is_not_a_list_of_them(embedder):
    with pytest.raises(QvsearchError, match="list"):
        embedder.process({"text": "a"})


@dataclass
class Site:
    """A server of this machine; `pages` are (status, headers, body) by path."""

    pages: dict
    port: int = 0

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"


@pytest.fixture
def site(files):
    pages = {
        "/a.png": (200, {}, Path(files[0]).read_bytes()),
        "/my%20photo-%C3%BC.png": (200, {}, Path(files[0]).read_bytes()),
        "/gone.png": (404, {}, b""),
        "/short.png": (200, {"Content-Length": "9999999"}, b"x"),
        "/private": (302, {"Location": "/a.png"}, b""),
        "/file": (302, {"Location": "file:///etc/passwd"}, b""),
        "/round": (302, {"Location": "/round"}, b""),
    }
    site = Site(pages)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, headers, body = pages[self.path]
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield site
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["/a.png", "/my photo-ü.png"])
def test_a_picture_by_url_is_that_picture(embedder, site, files, path):
    by_url = embedder.process([{"image": site.url(path)}])
    assert torch.equal(by_url, embedder.process([{"image": files[0]}]))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/gone.png", "404"),
        ("/short.png", "ended early|bytes early|IncompleteRead"),
        ("/private", "private network"),
        ("/file", "not an http or https URL"),
    ],
)
def test_what_cannot_be_fetched_is_named(embedder, site, path, reason):
    with pytest.raises(QvsearchError, match=reason):
        embedder.process([{"image": site.url(path)}])


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("10.0.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("::1", False),
        ("fec0::1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:a00:1::1", False),  # 10.0.0.1 in 6to4
        ("64:ff9b::a00:1", False),  # and in NAT64
    ],
)
def test_private_addresses_are_known(address, public):
    assert is_public(address) == public


def test_a_server_that_trickles_is_left_in_time():
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def trickle():
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while not ended.wait(0.05):
                    connection.sendall(b"X-Slow: 1\r\n")

        thread = threading.Thread(target=trickle)
        thread.start()
        port = server.getsockname()[1]
        with pytest.raises(QvsearchError, match="slower than the limit"):
            downloading.download(f"http://127.0.0.1:{port}/a.png", max_seconds=0.5)
        ended.set()
        thread.join()


def test_a_download_has_a_limit(site):
    with pytest.raises(QvsearchError, match="larger than"):
        downloading.download(site.url("/a.png"), max_bytes=10)


@pytest.fixture(scope="module")
def published(tiny, plain, tmp_path_factory):
    """The published classes on the tiny checkpoint, with the videos' prompt that the model knows.

    Their reranker fails for pictures since transformers 5.3, so that only its words are compared.
    """
    if UPSTREAM is None:
        pytest.skip("QVSEARCH_UPSTREAM names no checkout of the published code")
    folder = shutil.copytree(tiny, tmp_path_factory.mktemp("published") / "tiny")
    plain.processor.save_pretrained(folder)
    sys.path.insert(0, str(Path(UPSTREAM) / "src" / "models"))
    from qwen3_vl_embedding import Qwen3VLEmbedder as PublishedEmbedder
    from qwen3_vl_reranker import Qwen3VLReranker as PublishedReranker

    embedder = PublishedEmbedder(str(folder), dtype=torch.float32)
    render = embedder.processor.apply_chat_template

    def rendered(*arguments, **options):
        return [plain.without_second_pair(each) for each in render(*arguments, **options)]

    embedder.processor.apply_chat_template = rendered
    return embedder, PublishedReranker(str(folder), dtype=torch.float32)


@pytest.mark.filterwarnings("ignore")  # of the published code, by newer transformers
@pytest.mark.parametrize("name", [name for name in NAMES if name != "data"])  # it takes no data URL
def test_embeddings_are_those_of_the_published_class(embedder, published, files, name):
    source = forms(files)[name]
    ours, theirs = embedder.process([source]), published[0].process([source])
    assert torch.max(torch.abs(ours - theirs)) < 1e-5


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("reader")
def test_a_film_is_embedded_as_by_the_published_class(embedder, published, film):
    ours, theirs = (each.process([{"video": film}]) for each in (embedder, published[0]))
    assert torch.max(torch.abs(ours - theirs)) < 1e-5


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["text", "texts", "empty text", "nothing"])
def test_scores_are_those_of_the_published_class(reranker, published, files, name):
    pair = {"query": {"text": "a dog"}, "documents": [forms(files)[name]]}
    assert np.allclose(reranker.process(pair), published[1].process(pair), atol=1e-4)
