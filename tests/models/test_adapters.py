"""Adapters: their merged weights against peft on transformers' own class, and refusals."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.model_inputs import mixed_inputs
from support.padded import padded
from support.reference import Reference, load_generator

from qvsearch.errors import QvsearchError
from qvsearch.models.adapters import CONFIG, WEIGHTS, write_adapter
from qvsearch.models.merging import merge_checkpoint
from qvsearch.models.network import Network
from qvsearch.models.registry import resolve
from qvsearch.runtime.local import LocalEmbedder, LocalReranker
from qvsearch.tasks.finetuning.lora import Lora
from qvsearch.tasks.finetuning.settings import Settings

SETTINGS = Settings(rank=4, alpha=8, vision=True)


def trained(base, folder, settings=SETTINGS):
    """Write an adapter whose layers all change what the model computes."""
    network = Network(base, "cpu", "float32")
    network.load_vision()
    lora = Lora(network, settings)
    generator = torch.Generator().manual_seed(1)
    for parameter in lora.parameters.values():
        parameter.data.normal_(0, 0.1, generator=generator)
    folder.mkdir()
    weights = resolve(str(base))
    write_adapter(folder, lora.tensors(), lora.settings(), weights.name, weights.revision)
    return folder


@pytest.fixture(scope="module")
def adapter(tiny, tmp_path_factory):
    return trained(tiny, tmp_path_factory.mktemp("adapters") / "one")


def changed_config(adapter, folder, **fields):
    shutil.copytree(adapter, folder)
    config = json.loads((folder / CONFIG).read_text()) | fields
    (folder / CONFIG).write_text(json.dumps(config))
    return folder


def plain_vectors(model, sources, tiny):
    """Embed with a model of transformers' class, one input after the other."""
    network = Network(tiny, "cpu", "float32")
    embedder = LocalEmbedder(tiny, "cpu", "float32")
    network.load_vision()
    found = []
    for source in sources:
        batch = batch_of(embedder, source)
        states = model(**padded(network, batch), use_cache=False).last_hidden_state[0, -1]
        found.append(torch.nn.functional.normalize(states, dim=0))
    return torch.stack(found).detach().numpy()


def batch_of(embedder, source):
    from qvsearch.models.forward import ModelInput
    from qvsearch.models.prompt import embed_prompt

    (ids,) = embedder.network.tokenize([embed_prompt(source)], 8192)
    return [ModelInput(ids, (source,))]


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft reads it
@pytest.mark.parametrize("stabilized", [False, True])
def test_an_adapter_gives_the_vectors_of_peft(tiny, adapter, tmp_path, stabilized):
    from peft import PeftModel
    from transformers import Qwen3VLModel

    adapter = changed_config(adapter, tmp_path / "a", use_rslora=stabilized)
    base = Qwen3VLModel.from_pretrained(tiny, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, adapter).eval()
    sources = mixed_inputs()
    found = LocalEmbedder(tiny, "cpu", "float32", adapter=adapter).embed(sources)
    assert np.abs(found - plain_vectors(model, sources, tiny)).max() < 1e-5
    assert np.abs(found - LocalEmbedder(tiny, "cpu", "float32").embed(sources)).max() > 0.01


def test_an_adapter_is_its_own_model(tiny, adapter):
    base, whole = resolve(str(tiny)), resolve(str(tiny), adapter=adapter)
    assert whole.revision.startswith(f"{base.revision}+")
    assert (whole.name, whole.folder, whole.adapter) == (base.name, base.folder, adapter)
    assert resolve(str(adapter)) == whole  # which names its base


def test_the_revision_depends_on_weights_and_scale(tiny, adapter, tmp_path):
    other = trained(tiny, tmp_path / "other", Settings(rank=4, alpha=8))
    scaled = changed_config(adapter, tmp_path / "scaled", lora_alpha=9)
    copy = changed_config(adapter, tmp_path / "copy")
    revisions = [resolve(str(each)).revision for each in (adapter, other, scaled, copy)]
    assert len(set(revisions)) == 3
    assert revisions[0] == revisions[3]


def test_a_merged_checkpoint_is_a_plain_model(tiny, adapter, tmp_path):
    merge_checkpoint(resolve(str(adapter)), tmp_path / "merged")
    sources = mixed_inputs()
    expected = LocalEmbedder(tiny, "cpu", "float32", adapter=adapter).embed(sources)
    found = LocalEmbedder(tmp_path / "merged", "cpu", "float32").embed(sources)
    assert np.abs(found - expected).max() < 1e-6
    reference = Reference.load(tmp_path / "merged")
    assert np.abs(plain_vectors(reference.model, sources, tiny) - expected).max() < 1e-5
    query = LocalReranker(tmp_path / "merged", "cpu", "float32").logits(sources[0], sources)
    with_adapter = LocalReranker(adapter, "cpu", "float32").logits(sources[0], sources)
    assert np.abs(query - with_adapter).max() < 1e-4


def test_the_processor_of_a_merged_checkpoint_writes_our_prompts(adapter, tmp_path):
    from transformers import Qwen3VLProcessor

    from qvsearch.models.prompt import embed_prompt
    from qvsearch.types import EmbedInput

    merge_checkpoint(resolve(str(adapter)), tmp_path / "merged")
    processor = Qwen3VLProcessor.from_pretrained(tmp_path / "merged")
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Find it."}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "a dog"}]},
    ]
    prompt = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    picture = np.zeros((32, 32, 3), np.uint8)
    ours = EmbedInput("a dog", images=(picture,), instruction="Find it.")
    assert prompt == embed_prompt(ours)


def test_int8_is_made_of_the_merged_weights(tiny, adapter):
    texts = [each for each in mixed_inputs() if not each.images and each.video is None]
    exact = LocalEmbedder(adapter, "cpu", "float32").embed(texts)
    found = LocalEmbedder(adapter, "cpu", "int8").embed(texts)
    assert (found * exact).sum(axis=1).min() > 0.98
    assert (LocalEmbedder(tiny, "cpu", "int8").embed(texts) * exact).sum(axis=1).max() < 0.98


def test_an_adapter_of_another_base_is_refused(untied, adapter):
    with pytest.raises(QvsearchError, match=r"was trained on .* at revision .*, not .*untied"):
        resolve(str(untied), adapter=adapter)


def test_layers_of_another_size_are_refused(wide, adapter, tmp_path):
    unnamed = changed_config(adapter, tmp_path / "a", revision=None, base_model_name_or_path="x")
    with pytest.raises(QvsearchError, match=r"was trained on x, not"):
        resolve(str(wide), adapter=unnamed)
    claimed = changed_config(
        adapter, tmp_path / "b", revision=None, base_model_name_or_path=str(wide)
    )
    with pytest.raises(QvsearchError, match=r"does not fit this model: its layer language_model"):
        LocalEmbedder(claimed, "cpu", "float32")
    with pytest.raises(QvsearchError, match=r"does not fit this model"):
        merge_checkpoint(resolve(str(claimed)), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"use_dora": True}, "not a plain LoRA adapter: it has use_dora; merge it into its base"),
        ({"init_lora_weights": "pissa_niter_4"}, "it has init_lora_weights pissa_niter_4; merge"),
        ({"modules_to_save": ["norm"]}, "it has modules_to_save; merge"),
        ({"alpha_pattern": {"q_proj": 2}}, "it has alpha_pattern; merge"),
        ({"peft_type": "IA3"}, "it has peft_type IA3"),
        ({"r": 0}, "no usable r and lora_alpha"),
        ({"r": -4, "use_rslora": True}, "no usable r and lora_alpha"),
        ({"base_model_name_or_path": None}, "does not name its base_model_name_or_path"),
    ],
)
def test_other_adapters_are_refused(adapter, tmp_path, fields, message):
    with pytest.raises(QvsearchError, match=message):
        resolve(str(changed_config(adapter, tmp_path / "a", **fields)))


def test_damaged_adapters_are_refused(tiny, adapter, tmp_path):
    with pytest.raises(QvsearchError, match=f"is not an adapter: it has no {CONFIG}"):
        resolve(str(tiny), adapter=tmp_path)
    folder = changed_config(adapter, tmp_path / "a")
    (folder / WEIGHTS).write_bytes(b"no weights")
    with pytest.raises(QvsearchError, match="is not a safetensors file"):
        resolve(str(folder))
    (folder / WEIGHTS).unlink()
    with pytest.raises(QvsearchError, match=f"not a complete adapter: it has no {WEIGHTS}"):
        resolve(str(folder))
    (folder / CONFIG).write_text("{")
    (folder / WEIGHTS).touch()
    with pytest.raises(QvsearchError, match="cannot be read"):
        resolve(str(folder))


def test_an_adapter_that_changes_under_a_loaded_model_is_refused(tiny, adapter, tmp_path):
    folder = changed_config(adapter, tmp_path / "changing")
    embedder = LocalEmbedder(tiny, "cpu", "float32", adapter=folder)
    tensors = {name: tensor + 1 for name, tensor in load_file(adapter / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(QvsearchError, match="were changed while they were in use"):
        embedder.embed(mixed_inputs())


def test_an_adapter_of_the_head_is_refused(tiny, adapter, tmp_path):
    folder = changed_config(adapter, tmp_path / "head")
    pair = {"lora_A.weight": torch.zeros(4, 8), "lora_B.weight": torch.zeros(8, 4)}
    named = {f"base_model.model.lm_head.{name}": tensor for name, tensor in pair.items()}
    save_file(load_file(adapter / WEIGHTS) | named, folder / WEIGHTS)
    with pytest.raises(QvsearchError, match="does not fit this model: its layer lm_head"):
        LocalEmbedder(tiny, "cpu", "float32", adapter=folder)


def test_merging_refuses_a_model_and_a_folder_that_exists(tiny, adapter, tmp_path):
    with pytest.raises(QvsearchError, match="is not an adapter"):
        merge_checkpoint(resolve(str(tiny)), tmp_path / "merged")
    with pytest.raises(QvsearchError, match="exists; give a new folder"):
        merge_checkpoint(resolve(str(adapter)), tmp_path)


def test_a_server_loads_the_adapter(tiny, adapter):
    from qvsearch.runtime import server
    from qvsearch.runtime.loading import Choice, embedder_key, reranker_key

    choice = Choice(str(tiny), device="cpu", dtype="float32", adapter=str(adapter))
    key, weights = embedder_key(None, choice)
    assert key.revision == resolve(str(adapter)).revision
    order = server.Order(key, weights.name, "", 600, str(weights.adapter))
    sources = mixed_inputs()
    expected = LocalEmbedder(adapter, "cpu", "float32").embed(sources)
    assert np.array_equal(server.load(order)({"dim": 64}, sources), expected)
    key, weights = reranker_key(str(adapter), choice)
    order = server.Order(key, weights.name, "", 600, str(weights.adapter))
    scores = LocalReranker(adapter, "cpu", "float32").score(sources[0], sources[1:])
    assert server.load(order)({}, sources).tolist() == scores


def test_a_base_that_was_moved_is_named_beside_its_adapter(tiny, adapter, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(tiny, moved)
    whole = resolve(str(moved), adapter=adapter)
    assert whole.revision == resolve(str(adapter)).revision
    assert whole.name == str(moved)


def test_a_base_of_several_files_is_merged_file_by_file(tiny, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(tiny, base, ignore=shutil.ignore_patterns("*.safetensors"))
    load_generator(tiny).save_pretrained(base, max_shard_size="700KB")
    adapter = trained(base, tmp_path / "adapter")
    merge_checkpoint(resolve(str(adapter)), tmp_path / "merged")
    names = sorted(path.name for path in base.glob("*.safetensors"))
    assert len(names) > 2
    assert sorted(path.name for path in (tmp_path / "merged").glob("*.safetensors")) == names
    sources = mixed_inputs()
    expected = LocalEmbedder(adapter, "cpu", "float32").embed(sources)
    found = LocalEmbedder(tmp_path / "merged", "cpu", "float32").embed(sources)
    assert np.abs(found - expected).max() < 1e-6


def test_the_published_interface_takes_an_adapter(adapter):
    from qvsearch.compat import Qwen3VLEmbedder
    from qvsearch.types import EmbedInput

    found = Qwen3VLEmbedder(adapter, torch_dtype="float32").process([{"text": "a dog"}])
    expected = LocalEmbedder(adapter, "cpu", "float32").embed([EmbedInput("a dog")])
    assert np.abs(found.cpu().numpy() - expected).max() < 1e-5


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft reads it
@pytest.mark.parametrize("start", [True, "gaussian", "orthogonal", "pissa", "olora"])
def test_only_starts_that_keep_the_base_are_plain(tiny, adapter, tmp_path, start):
    from peft import PeftModel
    from transformers import Qwen3VLModel

    folder = changed_config(adapter, tmp_path / "a", init_lora_weights=start)
    before = Qwen3VLModel.from_pretrained(tiny, dtype=torch.float32).state_dict()
    base = Qwen3VLModel.from_pretrained(tiny, dtype=torch.float32)
    with torch.no_grad():
        after = PeftModel.from_pretrained(base, folder).unload().state_dict()
    is_kept = all(torch.equal(before[name], after[name]) for name in before)
    try:
        resolve(str(folder))
        is_accepted = True
    except QvsearchError:
        is_accepted = False
    assert is_accepted == is_kept
