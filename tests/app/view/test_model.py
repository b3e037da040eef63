"""What is shown for a model: its certificate, its facts, how far its loading is."""

from dataclasses import replace

import pytest

from app.chat.contexts import ContextEstimate
from app.chat.loading import LoadState, ModelState
from app.view import model
from engine.config import ModelSpec
from engine.events import Certificate, LoadProgress
from tests.scripted_answer import FAST, scripted_info


def test_the_badge_claims_no_more_than_the_probe_showed() -> None:
    info = scripted_info(ModelSpec())
    exact = model.badge(info, "exact")
    assert exact["label"] == "same words guaranteed"
    assert "(16)" in exact["explanation"]
    assert "costs 3%" in exact["explanation"]
    assert model.badge(info, "fast")["label"] == "equal up to rounding"
    all_widths = replace(info, exact=Certificate(setting="exact", tier="A", widths=(1, 2, 4)), exact_cost=1.0)
    assert "every width that was measured" in model.badge(all_widths, "exact")["explanation"]
    assert "costs" not in model.badge(all_widths, "exact")["explanation"]
    rounding = replace(info, exact=replace(FAST, setting="exact"))
    assert model.badge(rounding, "exact")["kind"] == "rounding"
    elsewhere = replace(info, exact=None, cost_curve=None, exact_cost=None)
    assert model.badge(elsewhere, "exact") is None
    assert model.page_header(1, "t", elsewhere, "exact", "")["badge"] is None
    assert model.badge(replace(info, exact_cost=None), "exact")["kind"] == "exact"


def test_before_the_certificate_comes_the_badge_says_so() -> None:
    info = replace(scripted_info(ModelSpec()), exact=None, cost_curve=None, exact_cost=None, provisional=True)
    progress = LoadProgress(stage="certify", message="x", done=41, total=100, seconds_left=31.0)
    for exactness in ("exact", "fast"):
        badge = model.badge(info, exactness, progress)
        assert badge is not None
        assert (badge["kind"], badge["label"]) == ("checking", "checking drafts 41 %")
    failed = model.page_header(1, "t", info, "exact", "")["badge"]
    assert failed["label"] == "not certified"
    said = model.picker_state(ModelState(info=info, load=LoadState(), preparing=progress))["sentence"]
    assert "One-time check of this model: 41 %, about 30 s; it waits while you chat" in said


def test_the_pack_that_drafts_along_is_named() -> None:
    info = scripted_info(ModelSpec())
    assert "pack" not in model.model_detail(info)
    assert "trained pack mine" in model.model_detail(replace(info, drafter_pack="mine")).splitlines()[-2]


def test_the_header_without_and_with_a_model() -> None:
    empty = model.page_header(None, "", None, "exact", "")
    assert (empty["title"], empty["model"], empty["badge"]) == ("New chat", "no model loaded", None)
    assert model.page_header(None, "", None, "exact", "loading weights 40 %")["model"] == "loading weights 40 %"
    raw = replace(scripted_info(ModelSpec(model="base")), has_chat_template=False)
    head = model.page_header(3, "Title", raw, "exact", "")
    assert head["model"] == "base (completes text, no chat template)"
    assert "12 M parameters, 49 MB" in head["model_detail"]
    assert head["thinking"] is False
    adapted = model.page_header(3, "Title", replace(raw, name="base with an adapter"), "exact", "")
    assert adapted["model"] == head["model"]
    assert adapted["model_detail"] == f"base with an adapter\n{head['model_detail']}"


def test_what_auto_chose_is_said() -> None:
    info = replace(scripted_info(ModelSpec()), quant="int8")
    load = LoadState(spec=ModelSpec(dtype="float32"))
    lines = model.picker_state(ModelState(info=info, load=load))["detail"].splitlines()
    assert "computes in float32, weights in int8, on Scripted CPU" in lines
    assert lines[-1] == "Compress to save memory: auto chose int8"


def test_a_context_that_is_cut_says_so_and_a_short_one_that_it_is_checked() -> None:
    estimate = ContextEstimate(
        asked=999_999, context=8192, trained=8192, fitting=8192, total_bytes=10**9, free_bytes=10**10
    )
    assert "trained for 8,192 tokens, and can be given no more" in model.context_words(estimate)
    short = replace(estimate, asked=512, context=512, fitting=512)
    assert model.context_words(short).endswith("shorter than 4,096 tokens has a one-time check of its own.")


@pytest.mark.parametrize(
    ("progress", "sentence", "fraction"),
    [
        (LoadProgress(stage="weights", message="Reading", done=2, total=5), "loading weights 40 %", 0.4),
        (
            LoadProgress(stage="weights", message="Reading", done=5, total=5, seconds_left=0.0),
            "weights are read, preparing the model",
            1.0,
        ),
        (
            LoadProgress(stage="download", message="x", done=1_200_000_000, total=3_400_000_000),
            "downloading 1.2 GB of 3.4 GB",
            pytest.approx(0.353, abs=0.01),
        ),
        (LoadProgress(stage="find", message="Looking for it."), "looking for it", None),
        (
            LoadProgress(stage="measure", message="Measuring", done=1, total=2, seconds_left=12.0),
            "measuring, 50 %, about 10 s",
            0.5,
        ),
    ],
)
def test_loading_is_said_in_words(progress: LoadProgress, sentence: str, fraction: float | None) -> None:
    live = model.load_live(ModelState(info=None, load=LoadState(running=True, progress=progress)))
    assert live is not None
    assert (live.sentence, live.progress) == (sentence, fraction)
