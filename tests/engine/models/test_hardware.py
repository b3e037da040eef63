"""Devices, dtypes and the memory plan: estimated sizes against real ones, and what is said when it does not fit."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import NotEnoughMemory, UnsupportedDevice
from engine.models import hardware, out_of_memory, ram
from engine.models.catalog import read_checkpoint
from engine.models.checkpoints.checkpoint import ModelShape, Tensor
from engine.models.footprint import estimate_weights, kv_bytes_per_token, plan_for
from engine.models.hardware import Device, choose_device, choose_dtype, choose_threads, cpu_name
from engine.models.memory_plan import plan, slow_nf4
from engine.models.out_of_memory import Footprint, out_of_memory_in_words, require_bytes

GB = 10**9
# GB of an 8B's recorded rounds at 8,192 and at 1,024 tokens
ROUNDS, SHORT_ROUNDS = (0.183, 0.123) if importlib.util.find_spec("triton") else (0.0, 0.0)
TinyModel = Callable[..., Path]

# Llama 3.1 8B as its config and headers describe it.
LLAMA_8B: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "vocab_size": 128_256,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131_072,
    "tie_word_embeddings": False,
}


def llama_8b(**changes: Any) -> ModelShape:
    shapes = {"model.embed_tokens.weight": (128_256, 4096), "lm_head.weight": (128_256, 4096)}
    for layer in range(32):
        for name, shape in {
            "q_proj": (4096, 4096),
            "k_proj": (1024, 4096),
            "v_proj": (1024, 4096),
            "o_proj": (4096, 4096),
            "gate_proj": (14_336, 4096),
            "up_proj": (14_336, 4096),
            "down_proj": (4096, 14_336),
        }.items():
            shapes[f"model.layers.{layer}.{name}.weight"] = shape
        shapes[f"model.layers.{layer}.input_layernorm.weight"] = (4096,)
    tensors = tuple(Tensor(name, "BF16", shape) for name, shape in shapes.items())
    return ModelShape("Llama 8B", LLAMA_8B | changes, tensors)


def cpu(free: float) -> Device:
    return Device(torch.device("cpu"), "Some CPU", int(free * GB))


def cuda(free: float) -> Device:
    return Device(torch.device("cuda", 0), "Some GPU", int(free * GB))


# --- sizes


def test_an_8b_model_has_the_sizes_that_are_known_of_it() -> None:
    checkpoint = llama_8b()
    assert checkpoint.num_parameters == pytest.approx(8.03e9, rel=0.001)
    assert estimate_weights(checkpoint, torch.bfloat16.itemsize, "none") == pytest.approx(16.06 * GB, rel=0.001)
    assert estimate_weights(checkpoint, torch.bfloat16.itemsize, "int8") == pytest.approx(9.1 * GB, rel=0.01)
    assert estimate_weights(checkpoint, torch.bfloat16.itemsize, "nf4") == pytest.approx(5.7 * GB, rel=0.02)
    assert kv_bytes_per_token(LLAMA_8B, torch.bfloat16.itemsize) == 128 * 1024


def test_a_tied_head_costs_nothing() -> None:
    tied = estimate_weights(llama_8b(tie_word_embeddings=True), torch.bfloat16.itemsize, "none")
    assert estimate_weights(llama_8b(), torch.bfloat16.itemsize, "none") - tied == 128_256 * 4096 * 2


def test_a_head_dimension_of_its_own_counts() -> None:
    assert kv_bytes_per_token(LLAMA_8B | {"head_dim": 256}, torch.bfloat16.itemsize) == 256 * 1024


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma", "phi", "phi3"])
def test_the_estimate_is_what_the_loaded_weights_take(tiny_model: TinyModel, family: str) -> None:
    from transformers import AutoModelForCausalLM

    folder = tiny_model(family)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    estimate = estimate_weights(read_checkpoint(folder, family), torch.bfloat16.itemsize, "none")
    assert estimate == sum(p.nbytes for p in model.parameters())


def test_a_tied_head_takes_its_own_memory_on_a_processor() -> None:
    tied, head = llama_8b(tie_word_embeddings=True), 128_256 * 4096

    def second_head(shape: ModelShape, quant: str) -> int:
        plans = [plan_for(each, "cpu", 2, quant, 1024) for each in (shape, llama_8b())]
        return plans[0].overhead_bytes - plans[1].overhead_bytes

    assert [second_head(tied, quant) for quant in ("none", "int8", "nf4")] == [2 * head, head, 2 * head]


# --- the plan


def test_what_fits_is_taken_whole() -> None:
    memory, notes = plan(llama_8b(), cuda(24), torch.bfloat16, max_context=8192)
    assert memory.context_length == 8192
    # weights, the device's own, keys and values, a chunk's masks
    assert memory.total_bytes == pytest.approx((16.06 + 1.3 + 1.074 + 0.082 + ROUNDS) * GB, rel=0.001)
    assert notes == ()


def test_what_forward_passes_make_grows_with_the_context_and_is_planned() -> None:
    short, _ = plan(llama_8b(), cuda(80), torch.bfloat16, max_context=1024)
    long, _ = plan(llama_8b(), cuda(80), torch.bfloat16)
    assert short.work_bytes < 0.2 * GB
    assert 1.2 * GB < long.work_bytes < 1.8 * GB  # masks of 512 tokens over 131,072 slots alone are 1.28 GB
    assert plan(llama_8b(), cpu(80), torch.bfloat16)[0].work_bytes < 0.6 * long.work_bytes


def test_a_context_that_does_not_fit_is_shortened_and_said() -> None:
    memory, notes = plan(llama_8b(), cuda(24), torch.bfloat16)
    assert 40_000 < memory.context_length < 51_000
    assert memory.context_length % 256 == 0
    assert memory.total_bytes <= 24 * GB
    assert f"{memory.context_length:,}" in notes[0]
    assert "131,072" in notes[0]
    assert "24.0 GB" in notes[0]


def test_what_to_choose_instead_of_a_slow_nf4() -> None:
    assert slow_nf4(llama_8b(), cpu(80), torch.bfloat16).endswith("that fits here.")
    assert slow_nf4(llama_8b(), cpu(8), torch.bfloat16).endswith("A smaller model with int8 would be quicker.")


def test_on_a_cpu_half_of_the_rest_stays_free() -> None:
    free = 30.0
    memory, _ = plan(llama_8b(), cpu(free), torch.bfloat16)
    rest = free * GB - memory.weights_bytes - memory.overhead_bytes
    assert 0.45 * rest < memory.context_length * memory.kv_bytes <= 0.5 * rest


def test_a_context_beyond_the_models_own_is_cut_and_said() -> None:
    memory, notes = plan(llama_8b(max_position_embeddings=4096), cuda(80), torch.bfloat16, max_context=10_000)
    assert memory.context_length == 4096
    assert "4,096" in notes[0]
    assert "10,000" in notes[0]


def test_longrope_ends_at_its_original_length() -> None:
    rope = {"rope_type": "longrope", "original_max_position_embeddings": 4096}
    memory, notes = plan(llama_8b(rope_scaling=rope), cuda(80), torch.bfloat16)
    assert memory.context_length == 4096
    assert "LongRoPE" in notes[0]


def test_no_room_names_both_numbers_and_what_would_fit() -> None:
    with pytest.raises(NotEnoughMemory) as failure:
        plan(llama_8b(), cuda(12), torch.bfloat16, max_context=4096)
    sentence = str(failure.value)
    assert f"{16.06 + 1.3 + 0.13 + 0.01 + SHORT_ROUNDS:.1f} GB" in sentence
    assert "12.0 GB are free on Some GPU" in sentence
    assert "int8" in sentence
    assert "nf4" in sentence


def test_who_loads_in_int8_is_offered_nf4() -> None:
    with pytest.raises(NotEnoughMemory, match="load it with nf4") as failure:
        plan(llama_8b(), cuda(8), torch.bfloat16, quant="int8")
    assert "load it with int8" not in str(failure.value)


def test_only_what_fits_is_offered() -> None:
    with pytest.raises(NotEnoughMemory, match="nf4") as failure:
        plan(llama_8b(), cuda(8), torch.bfloat16)
    assert "int8" not in str(failure.value)


def test_the_cpu_is_offered_where_nothing_else_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "free_ram", lambda: 64 * GB)
    with pytest.raises(NotEnoughMemory, match="on the CPU"):
        plan(llama_8b(), cuda(4), torch.bfloat16)


def test_where_nothing_fits_a_smaller_model_is_the_way() -> None:
    with pytest.raises(NotEnoughMemory, match="choose a smaller model"):
        plan(llama_8b(), cpu(3), torch.bfloat16, quant="nf4")


def test_the_plan_never_promises_more_than_is_free() -> None:
    for free in range(2, 40):
        try:
            memory, _ = plan(llama_8b(), cuda(free), torch.bfloat16)
        except NotEnoughMemory:
            assert free < 19
            continue
        assert memory.total_bytes <= free * GB
        assert memory.context_length >= 1024


# --- where memory runs out all the same


def footprint(**changes: Any) -> Footprint:
    facts: dict[str, Any] = {
        "model": "Llama 8B",
        "device_name": "Some GPU",
        "device_type": "cuda",
        "quant": "none",
        "weights_bytes": 16 * GB,
        "context_length": 8192,
    }
    return Footprint(**(facts | changes))


def test_the_steps_that_help_come_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out_of_memory, "free_ram", lambda: 64 * GB)
    assert str(footprint().in_words(answering=True)) == (
        "Some GPU ran out of memory while Llama 8B answered. In this order: start a new chat, or close other programs "
        "that use its memory, or give the model a shorter context (--max-context 4096), or load it with int8, or load "
        "it with nf4, or run it on the CPU, slowly (--device cpu), or choose a smaller model."
    )


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"quant": "int8"}, ["load it with int8"]),
        ({"quant": "nf4"}, ["load it with int8", "load it with nf4"]),
        ({"context_length": 1024}, ["give the model a shorter context (--max-context 4096)"]),
        ({"device_type": "cpu"}, ["run it on the CPU, slowly (--device cpu)"]),
        ({"weights_bytes": 70 * GB}, ["run it on the CPU, slowly (--device cpu)"]),
    ],
)
def test_what_is_done_already_is_no_advice(
    changes: dict[str, Any], missing: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out_of_memory, "free_ram", lambda: 64 * GB)
    usual = footprint().remedies(answering=False)
    assert set(missing) < set(usual)
    assert footprint(**changes).remedies(answering=False) == tuple(step for step in usual if step not in missing)


def test_a_context_is_never_shortened_below_what_a_chat_needs() -> None:
    steps = footprint(context_length=1100).remedies(answering=False)
    assert "give the model a shorter context (--max-context 1024)" in steps


def test_only_what_is_about_memory_becomes_a_sentence_about_memory() -> None:
    for exc in (torch.OutOfMemoryError("CUDA out of memory."), MemoryError(), RuntimeError("can't allocate memory")):
        with pytest.raises(NotEnoughMemory, match="while Llama 8B was loaded"), out_of_memory_in_words(footprint()):
            raise exc
        with pytest.raises(NotEnoughMemory, match="close other programs"), out_of_memory_in_words():
            raise exc
    with pytest.raises(RuntimeError, match="another fault"), out_of_memory_in_words(footprint()):
        raise RuntimeError("another fault")


def test_bytes_that_are_not_free_are_refused_with_both_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "free_ram", lambda: 2 * GB)
    require_bytes(2 * GB, torch.device("cpu"), "A second cache")
    with pytest.raises(NotEnoughMemory, match=r"^A second cache takes 2\.5 GB, and 2\.0 GB are free on .*: close"):
        require_bytes(5 * GB // 2, torch.device("cpu"), "A second cache")


# --- devices and dtypes


def test_an_apple_processor_is_named_by_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware.Path, "is_file", lambda path: False)
    monkeypatch.setattr(hardware.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(
        hardware.subprocess, "run", lambda command, **_: hardware.subprocess.CompletedProcess(command, 0, "Apple M4\n")
    )
    assert cpu_name() == "Apple M4"


def test_the_cpu_has_a_name_and_memory() -> None:
    device = choose_device("cpu")
    assert device.name
    assert 0 < device.free_bytes < 10**15


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = tmp_path
    (group / "memory.max").write_text("3000000000\n")
    (group / "memory.current").write_text("1000000000\n")
    (group / "memory.stat").write_text("anon 5\ninactive_file 400000000\n")
    monkeypatch.setattr(ram, "_CGROUP", group)
    monkeypatch.setattr(ram.psutil, "virtual_memory", lambda: replace_available(64 * GB))
    assert ram.free_ram() == 2_400_000_000
    (group / "memory.max").write_text("max\n")
    assert ram.free_ram() == 64 * GB


def replace_available(num_bytes: int) -> Any:
    class Memory:
        available = num_bytes

    return Memory()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_a_missing_cuda_device(name: str) -> None:
    with pytest.raises(UnsupportedDevice, match="no CUDA device"):
        choose_device(name)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has an Apple GPU")
def test_a_missing_apple_gpu() -> None:
    with pytest.raises(UnsupportedDevice, match="no Apple GPU"):
        choose_device("mps")


def test_a_cuda_index_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UnsupportedDevice, match="cuda:0 to cuda:1"):
        choose_device("cuda:2")


def test_a_small_model_computes_in_one_thread() -> None:
    assert choose_threads(None, cpu(8), 10**7) == 1
    assert choose_threads(None, cpu(8), 10**9) == choose_threads(None, cuda(8), 10**7)
    assert choose_threads(3, cpu(8), 10**7) == 3


def test_dtypes_go_by_device_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    for able, dtype in (({}, torch.float32), ({"avx512_bf16": True}, torch.bfloat16)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: able)
        assert choose_dtype("auto", cpu(8), 5 * 10**8) is dtype
        assert choose_dtype("auto", cpu(8), 10**8) is torch.float32
    assert choose_dtype("auto", cpu(8), 5 * 10**8, "int8") is torch.float32
    assert choose_dtype("auto", cpu(8), 2 * 10**9) is torch.bfloat16
    assert choose_dtype("float16", cpu(8), 10**8) is torch.float16
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    assert choose_dtype("auto", cuda(8), 10**8) is torch.bfloat16
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert choose_dtype("auto", cuda(8), 10**8) is torch.float16
    assert choose_dtype("auto", replace(cpu(8), torch_device=torch.device("mps")), 10**8) is torch.float16
