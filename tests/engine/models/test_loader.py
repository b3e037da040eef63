"""Loading: every family computes what transformers computes, and every failure is one sentence."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from engine.config import GenerationRequest, Message, ModelSpec
from engine.errors import (
    BrokenModel,
    DownloadCancelled,
    ModelNotFound,
    NotEnoughMemory,
    UnsupportedDevice,
    UnsupportedModel,
)
from engine.events import LoadProgress
from engine.models import hardware, loader
from engine.models.loader import LoadedModel, load_model
from engine.prompt.context import build_prompt
from tests.models import FAMILIES, build, copy_model, metaspace_tokenizer

TinyModel = Callable[..., Path]
IDS = torch.arange(5, 25)[None]


def load(folder: Path | str, **options: Any) -> LoadedModel:
    return load_model(ModelSpec(model=str(folder), device="cpu", **options), lambda progress: None)


@pytest.fixture
def folder(tiny_model: TinyModel, tmp_path: Path) -> Path:
    """A whole tiny model that a test may change."""
    return copy_model(tiny_model("llama"), tmp_path / "model")


def write_json(path: Path, **changes: Any) -> None:
    old = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(old | changes))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_computes_what_transformers_does(tiny_model: TinyModel, family: str) -> None:
    folder = tiny_model(family)
    loaded = load(folder, dtype="float32")
    stock = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        assert torch.equal(loaded.model(IDS).logits, stock(IDS).logits)
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert loaded.dtype is torch.float32
    assert loaded.num_parameters == sum(p.numel() for p in stock.parameters())
    assert loaded.weights_bytes == 4 * loaded.num_parameters
    assert loaded.architecture == type(stock).__name__
    assert loaded.context_length == 4096
    assert loaded.vocab_size == stock.config.vocab_size


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_answers_of_tiny_models_vary(tiny_model: TinyModel, family: str) -> None:
    """A model that says one thing only would prove nothing anywhere else."""
    loaded = load(tiny_model(family))
    answers = set()
    for text in ("Hello there", "What is the capital of France?"):
        request = GenerationRequest(messages=(Message.of("user", text),))
        ids = build_prompt(loaded.tokenizer, request, 4096, loaded.vocab_size).token_ids
        out = loaded.model.generate(torch.tensor([ids]), max_new_tokens=32, do_sample=False, eos_token_id=None)
        answers.add(tuple(out[0, len(ids) :].tolist()))
    assert len(answers) == 2
    assert all(len(set(answer)) > 6 for answer in answers)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtypes(tiny_model: TinyModel, dtype: str) -> None:
    loaded = load(tiny_model("llama"), dtype=dtype)
    assert {p.dtype for p in loaded.model.parameters()} == {getattr(torch, dtype)} == {loaded.dtype}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("quant", ["int8", "nf4"])
def test_quantised_weights_compute_nearly_the_same(tiny_model: TinyModel, quant: str, dtype: str) -> None:
    folder = tiny_model("llama")
    loaded, full = load(folder, quant=quant, dtype=dtype), load(folder)
    with torch.inference_mode():
        got, want = loaded.model(IDS).logits.float(), full.model(IDS).logits
    likeness = torch.cosine_similarity(got.flatten(), want.flatten(), dim=0)
    assert likeness > (0.99 if quant == "int8" else 0.9)
    assert loaded.quant == quant
    assert loaded.num_parameters == full.num_parameters
    plain = load(folder, dtype=dtype).weights_bytes
    assert loaded.weights_bytes < plain
    linear = loaded.model.model.layers[0].mlp.up_proj
    assert linear.weight.dtype is (torch.int8 if quant == "int8" else torch.uint8)
    assert loaded.model.lm_head.weight.dtype is loaded.dtype


def test_a_quantisation_that_is_slow_here_is_said_to_be_before_the_weights_are_read(tiny_model: TinyModel) -> None:
    reports: list[LoadProgress] = []
    spec = ModelSpec(model=str(tiny_model("llama")), device="cpu", quant="nf4")
    loaded = load_model(spec, reports.append)
    (note,) = loaded.notes
    assert note.startswith("nf4 is slow without a GPU")
    assert note.endswith("Load the model with int8: that fits here.")
    stages = [report.stage for report in reports]
    assert [report.message for report in reports].index(note) < stages.index("weights")
    assert load(tiny_model("llama")).notes == load(tiny_model("llama"), quant="int8").notes == ()


def test_nf4_takes_layers_of_any_shape(tmp_path: Path) -> None:
    """bitsandbytes packs weights for some processors, and stops at shapes that are no multiple of 32 and 64."""
    folder = build(
        tmp_path / "odd",
        hidden_size=72,
        intermediate_size=200,
        num_attention_heads=3,
        num_key_value_heads=1,
        head_dim=24,
    )
    loaded, full = load(folder, quant="nf4", dtype="bfloat16"), load(folder)
    with torch.inference_mode():
        got, want = loaded.model(IDS).logits.float(), full.model(IDS).logits
    assert torch.cosine_similarity(got.flatten(), want.flatten(), dim=0) > 0.9


@pytest.mark.parametrize("quant", ["int8", "nf4"])
def test_quantised_weights_that_do_not_fit_the_config(folder: Path, quant: str) -> None:
    write_json(folder / "config.json", intermediate_size=256)
    with pytest.raises(BrokenModel, match=r"6 weights do not fit its config\.json"):
        load(folder, quant=quant)


def test_int8_rows_do_not_depend_on_each_other(tiny_model: TinyModel) -> None:
    """A threshold would let one row's outliers change how another is computed."""
    loaded = load(tiny_model("llama"), quant="int8")
    layer = loaded.model.model.layers[0].mlp.up_proj
    rows = torch.randn(4, 64)
    rows[3] *= 1000
    with torch.inference_mode():
        assert torch.equal(layer(rows)[:3], layer(rows[:3]))


def test_a_quantisation_that_does_not_work_here(monkeypatch: pytest.MonkeyPatch, tiny_model: TinyModel) -> None:
    import bitsandbytes

    def broken(*args: object, **options: object) -> None:
        raise NotImplementedError("no kernel for this device")

    monkeypatch.setattr(bitsandbytes.nn, "Linear4bit", broken)
    with pytest.raises(UnsupportedDevice, match="nf4"):
        load(tiny_model("llama"), quant="nf4")


def test_shards_load_as_one_file_does(tiny_model: TinyModel) -> None:
    whole, sharded = load(tiny_model("llama")), load(tiny_model("llama", max_shard_size="200KB"))
    for one, other in zip(whole.model.parameters(), sharded.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_progress_is_reported(tiny_model: TinyModel) -> None:
    reports: list[LoadProgress] = []
    load_model(ModelSpec(model=str(tiny_model("llama")), device="cpu"), reports.append)
    assert reports[0].stage == "find"
    weights = [p for p in reports if p.stage == "weights"]
    assert weights[0].done == 0
    assert weights[-1].done == weights[-1].total
    assert [p.done for p in weights] == sorted(p.done for p in weights)


def test_libraries_stay_off_the_terminal(tiny_model: TinyModel, capfd: pytest.CaptureFixture[str]) -> None:
    load(tiny_model("llama"), quant="int8").model(IDS)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_loading_a_folder_asks_no_network(tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    asked: list[object] = []

    def connect(self: socket.socket, address: object) -> None:
        asked.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: asked.append(args))
    load(tiny_model("mistral", style="metaspace"))
    assert asked == []


def test_the_starter_model_loads_by_the_same_path() -> None:
    loaded = load("starter")
    assert loaded.name == "starter"
    assert loaded.notes == ()
    assert loaded.eos_ids
    assert loaded.tokenizer.chat_template
    request = GenerationRequest(messages=(Message.of("user", "Hello!"),))
    assert not build_prompt(loaded.tokenizer, request, loaded.context_length, loaded.vocab_size).verbatim


def test_longrope_is_found_in_the_config_as_transformers_reads_it(tmp_path: Path) -> None:
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8, "factor": 32.0}
    folder = build(
        tmp_path / "long",
        "phi3",
        max_position_embeddings=131_072,
        original_max_position_embeddings=4096,
        rope_scaling=rope,
    )
    loaded = load(folder)
    assert loaded.context_length == 4096
    assert "LongRoPE" in loaded.notes[0]


def test_threads_are_set(tiny_model: TinyModel) -> None:
    before = torch.get_num_threads()
    try:
        assert load(tiny_model("llama"), threads=1).threads == 1 == torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def test_the_text_model_of_a_model_with_vision(tmp_path: Path) -> None:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    tokenizer = metaspace_tokenizer()
    text = {"vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "query_pre_attn_scalar": 16}
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 28, "patch_size": 14}
    both = Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    ).eval()
    both.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = load(tmp_path, dtype="float32")
    assert loaded.architecture == "Gemma3ForCausalLM"
    assert loaded.num_parameters == sum(p.numel() for p in loaded.model.parameters())
    with torch.inference_mode():
        assert torch.equal(loaded.model(IDS).logits, both(input_ids=IDS).logits)


# --- what goes wrong


def test_nowhere() -> None:
    with pytest.raises(ModelNotFound):
        load("/no/such/model")


def test_weights_that_do_not_fit_the_config(folder: Path) -> None:
    write_json(folder / "config.json", intermediate_size=256)
    with pytest.raises(BrokenModel, match=r"6 weights do not fit its config\.json.*down_proj") as failure:
        load(folder)
    assert "(64, 128) instead of (64, 256)" in str(failure.value)


@pytest.mark.parametrize(
    "changes",
    [{"hidden_act": "zelu"}, {"rope_parameters": {"rope_type": "frob", "rope_theta": 1e4}}, {"num_hidden_layers": 0}],
)
def test_a_config_that_no_model_can_be_built_from(folder: Path, changes: dict[str, Any]) -> None:
    write_json(folder / "config.json", **changes)
    with pytest.raises(BrokenModel, match=r"config\.json"):
        load(folder)


def test_weights_without_a_place_are_noted(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.self_attn.q_proj.bias"] = torch.ones(64)
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)  # old files have it; nothing is lost
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert [note for note in load(folder).notes if "1 weights" in note and "q_proj.bias" in note]


def test_weights_that_are_in_no_file(folder: Path) -> None:
    write_json(folder / "config.json", num_hidden_layers=3)
    with pytest.raises(BrokenModel, match=r"model\.layers\.2"):
        load(folder)


@pytest.mark.parametrize("changes", [{"hidden_size": "wide"}, {"head_dim": 17}, {"rope_parameters": [1]}])
def test_a_config_with_nonsense(folder: Path, changes: dict[str, Any]) -> None:
    write_json(folder / "config.json", **changes)
    with pytest.raises(BrokenModel, match=r"config\.json") as failure:
        load(folder)
    assert "\n" not in str(failure.value)


def test_too_little_memory_is_known_before_the_weights(tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "free_ram", lambda: 1000)
    reports: list[LoadProgress] = []
    with pytest.raises(NotEnoughMemory):
        load_model(ModelSpec(model=str(tiny_model("llama")), device="cpu"), reports.append)
    assert {p.stage for p in reports} == {"find"}


@pytest.mark.parametrize(
    "exc",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_memory_that_runs_out_while_loading(
    tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch, exc: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise exc

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", fail)
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(NotEnoughMemory, match="ran out of memory while tiny-llama was loaded"),
    ):
        load(tiny_model("llama"))
    assert caplog.records


def test_a_disk_that_fails_is_not_a_config_that_does_not_fit(
    tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", fail)
    with pytest.raises(BrokenModel, match=r"cannot be read \(.*Input/output error\)\. Check the disk"):
        load(tiny_model("llama"))


def test_code_that_comes_with_a_model_is_not_run(folder: Path) -> None:
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    write_json(folder / "config.json", auto_map={"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"})
    assert load(folder).architecture == "LlamaForCausalLM"
    write_json(folder / "config.json", model_type="evil")
    with pytest.raises(UnsupportedModel, match="never run"):
        load(folder)


def test_a_load_that_is_cancelled_while_weights_are_read_is_no_broken_model(folder: Path) -> None:
    def report(progress: LoadProgress) -> None:
        if progress.stage == "weights":
            raise DownloadCancelled("enough")

    with pytest.raises(DownloadCancelled, match="enough"):
        load_model(ModelSpec(model=str(folder), device="cpu"), report)


def test_a_failure_leaves_the_next_load_alone(folder: Path, tiny_model: TinyModel) -> None:
    write_json(folder / "config.json", intermediate_size=256)
    with pytest.raises(BrokenModel):
        load(folder)
    reports: list[LoadProgress] = []
    loader.load_model(ModelSpec(model=str(tiny_model("llama")), device="cpu"), reports.append)
    assert reports[-1].stage == "weights"
