"""GGUF files of repositories as people and programs name them: which model is in them, and which one is picked."""

import pytest

from engine.errors import BrokenModel, ModelNotFound
from engine.models.checkpoints.gguf.names import label_of
from engine.models.hub.quantisations import Quantised, pick, quantisations
from engine.models.hub.remote_files import File

GB = 10**9
BARTOWSKI = ("Qwen3-4B-Q8_0", "Qwen3-4B-Q4_K_M", "Qwen3-4B-Q4_K_S", "Qwen3-4B-IQ4_XS", "Qwen3-4B-Q3_K_L")
REPOSITORY = "someone/some-GGUF"


def models(*names: str) -> list[Quantised]:
    return quantisations(File(name, (100 - number) * GB // 10) for number, name in enumerate(names))


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Qwen3-4B-Q4_K_M", "Q4_K_M"),
        ("SmolLM2-135M-Instruct.Q4_1", "Q4_1"),
        ("qwen2.5-7b-instruct-q5_k_m", "Q5_K_M"),
        ("Phi-3-mini-4k-instruct-q4", "Q4"),
        ("Phi-3-mini-4k-instruct-fp16", "F16"),
        ("Qwen3-8B-UD-Q4_K_XL", "UD-Q4_K_XL"),
        ("Meta-Llama-3-8B.i1-IQ2_XXS", "i1-IQ2_XXS"),
        ("BF16/Qwen3-8B-BF16", "BF16"),
        ("Q8_0/Qwen3-8B", "Q8_0"),
        ("gemma-3-1b-it-q4_0", "Q4_0"),
        ("model-MXFP4_MOE", "MXFP4_MOE"),
        ("bitnet-TQ1_0", "TQ1_0"),
        ("Qwen3-4B", ""),
        ("ggml-model", ""),
        ("model-Q4_K_M-imat", "Q4_K_M"),
    ],
)
def test_the_quantisation_in_a_name(name: str, label: str) -> None:
    assert label_of(name) == label


def test_what_is_no_model_is_not_taken() -> None:
    names = ["mmproj-F16.gguf", "x-mmproj-Q8_0.gguf", "x.imatrix.gguf", "imatrix.dat", "mtp-x.gguf", "x-lora-f16.gguf"]
    assert models(*names, "README.md", "explorations-Q4_0.gguf") == models(
        *names, "README.md", "explorations-Q4_0.gguf"
    )
    assert [model.stem for model in models(*names, "README.md", "explorations-Q4_0.gguf")] == ["explorations-Q4_0"]


def test_shards_are_one_model() -> None:
    (model,) = models("Q8_0/x-Q8_0-00002-of-00002.gguf", "Q8_0/x-Q8_0-00001-of-00002.gguf")
    assert (model.label, model.whole, model.size) == ("Q8_0", True, 199 * GB // 10)
    assert [file.name[-22:] for file in model.files] == [
        "Q8_0-00001-of-00002.gguf"[-22:],
        "Q8_0-00002-of-00002.gguf"[-22:],
    ]
    assert pick([model], "Q8_0/x-Q8_0-00002-of-00002.gguf", REPOSITORY) == model


@pytest.mark.parametrize(
    ("names", "wanted", "picked"),
    [
        (BARTOWSKI, "Q8_0", "Qwen3-4B-Q8_0"),
        (BARTOWSKI, "q4_k_m", "Qwen3-4B-Q4_K_M"),
        (BARTOWSKI, "Qwen3-4B-IQ4_XS.gguf", "Qwen3-4B-IQ4_XS"),
        (BARTOWSKI, "", "Qwen3-4B-Q4_K_M"),
        (("x-UD-Q4_K_M", "x-Q8_0"), "Q4_K_M", "x-UD-Q4_K_M"),
        (("x-UD-Q4_K_M", "x-Q4_K_M"), "Q4_K_M", "x-Q4_K_M"),
        (("x-UD-Q4_K_M", "x-Q4_K_M"), "ud-q4_k_m", "x-UD-Q4_K_M"),
        (("x.i1-Q4_K_M", "x.i1-Q4_0"), "", "x.i1-Q4_K_M"),
        (("x-f16", "x-Q8_0"), "FP16", "x-f16"),
        (("x-Q8_0", "x-Q2_K"), "", "x-Q8_0"),
        (("x-IQ4_XS", "x-Q4_K_S", "x-Q5_K_M"), "", "x-Q4_K_S"),
        (("x-BF16", "x-F32"), "", "x-BF16"),
        (("x-q4", "x-fp16"), "", "x-q4"),
        (("model",), "", "model"),
        (("sub/x-Q4_K_M", "x-Q4_K_M"), "Q4_K_M", "x-Q4_K_M"),
    ],
)
def test_which_model_a_name_means(names: tuple[str, ...], wanted: str, picked: str) -> None:
    assert pick(models(*(f"{name}.gguf" for name in names)), wanted, REPOSITORY).stem == picked


def test_an_unknown_quantisation_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(ModelNotFound) as failure:
        pick(models("x-Q8_0.gguf", "x-Q4_K_S.gguf", "x-Q3_K_L-00001-of-00002.gguf"), "Q5_K_S", REPOSITORY)
    said = f"{REPOSITORY} has no Q5_K_S: it has Q4_K_S (9.9 GB), Q8_0 (10.0 GB). Name one of these, as in "
    assert str(failure.value) == said + f"{REPOSITORY}:Q4_K_S."


def test_no_gguf_at_all() -> None:
    with pytest.raises(ModelNotFound, match=r"has no Q4_K_M\. Choose another repository\."):
        pick([], "Q4_K_M", REPOSITORY)


def test_several_models_in_one_quantisation() -> None:
    with pytest.raises(ModelNotFound, match=r"several models in Q4_0: b-Q4_0\.gguf \(9\.9 GB\).*as in"):
        pick(models("a-Q4_0.gguf", "b-Q4_0.gguf"), "Q4_0", REPOSITORY)


def test_shards_of_which_one_is_missing() -> None:
    there = models("x-Q8_0-00001-of-00003.gguf", "x-Q8_0-00003-of-00003.gguf", "x-Q4_0.gguf")
    with pytest.raises(BrokenModel, match=r"has 2 of the 3 files of x-Q8_0\. Choose another quantisation: it has Q4_0"):
        pick(there, "Q8_0", REPOSITORY)
    assert pick(there, "", REPOSITORY).label == "Q4_0"
