"""The catalogue and its download, in words."""

from dataclasses import replace
from typing import Any

import pytest

from app.chat.downloads import Download
from app.chat.offers import Downloadable
from app.view.downloads import best_offer, download_card, downloadable_facts, downloadable_label
from engine.models.well_known import ChatModel, chat_models

GB = 10**9


@pytest.fixture
def model() -> ChatModel:
    return next(model for model in chat_models() if model.name == "Qwen3 1.7B")


@pytest.fixture
def offer(model: ChatModel) -> Downloadable:
    return Downloadable(
        chat_model=model, fit="fits", best=False, here=False, partial_bytes=0, memory_bytes=int(3.44 * GB)
    )


def test_the_list_says_size_and_fit(offer: Downloadable) -> None:
    assert downloadable_label(offer) == "Qwen3 1.7B (1.8 GB, fits)"
    assert downloadable_label(replace(offer, best=True)) == "Qwen3 1.7B (1.8 GB, best fit)"
    assert downloadable_label(replace(offer, fit="too large")) == "Qwen3 1.7B (1.8 GB, too large)"
    assert downloadable_label(replace(offer, partial_bytes=GB // 2)) == "Qwen3 1.7B (500 MB of 1.8 GB)"
    assert downloadable_label(replace(offer, here=True, best=True)) == "Qwen3 1.7B (on this disk)"


def test_the_facts_of_a_model(offer: Downloadable) -> None:
    said = downloadable_facts(offer)
    assert said.startswith("Good for questions, small code")
    assert "1.7 B parameters, about 3.4 GB of memory, 40,960 tokens of context." in said
    assert said.endswith("Licence: Apache-2.0. From Qwen/Qwen3-1.7B-GGUF, 1.8 GB (Q8_0).")
    assert downloadable_facts(replace(offer, best=True)).startswith("The best fit for this machine. Good for")


def test_the_empty_chat_offers_the_best_fit(offer: Downloadable) -> None:
    assert best_offer(offer) == "Qwen3 1.7B, the best fit for this machine (1.8 GB)"
    assert best_offer(None) == ""


@pytest.mark.parametrize(
    ("values", "state", "sentence", "progress"),
    [
        ({}, "running", "Downloading Qwen3 1.7B: 400 MB of 1.6 GB", 0.25),
        ({"seconds_left": 272.0}, "running", "Downloading Qwen3 1.7B: 400 MB of 1.6 GB, about 5 min left", 0.25),
        ({"done": 1600_000_000}, "running", "Checking Qwen3 1.7B", 1.0),
        ({"status": "paused"}, "paused", "Qwen3 1.7B is paused at 400 MB of 1.6 GB.", 0.25),
        ({"status": "failed", "error": "No network."}, "failed", "No network.", 0.25),
        ({"status": "done", "done": 1600_000_000}, "done", "Qwen3 1.7B is on this disk.", None),
    ],
)
def test_how_far_a_download_is(
    model: ChatModel, values: dict[str, Any], state: str, sentence: str, progress: float | None
) -> None:
    download = Download(model=model, status="running", done=400_000_000, total=1_600_000_000)
    card = download_card(replace(download, **values))
    assert (card["state"], card["sentence"], card["progress"]) == (state, sentence, progress)
    assert card["tone"] == ("bad" if state == "failed" else "")


def test_without_a_download_nothing_is_said() -> None:
    assert download_card(None) == {"state": "none", "sentence": "", "progress": None, "tone": ""}
