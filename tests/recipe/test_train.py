"""The adapter's training: resumed it ends where an unbroken run does, and what it writes is an adapter that fits."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import data
import pytest
import torch
import train
from base import Base
from data import Document, Documents, is_held_out, stress_departures
from safetensors.torch import load_file

from engine.config import ModelSpec
from engine.models.loader import load_model

TOKENS = 6000


@pytest.fixture
def own_answers(tmp_path: Path) -> Path:
    openings = [f"What is a word that rhymes with number {number}?" for number in range(30)]
    records = [{"opening": text, "answer": "It is slumber.", "ended": True, "greedy": True} for text in openings]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture
def folder(tiny_model: Callable[..., Path]) -> Path:
    return tiny_model("llama", max_position_embeddings=4096)


@pytest.fixture
def base(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(device: str = "auto", dtype: str = "bfloat16", threads: int | None = None) -> Base:
        loaded = load_model(ModelSpec(model=str(folder), device="cpu", dtype="float32"), report=lambda _: None)
        return Base(loaded.model, loaded.tokenizer, loaded.device)

    monkeypatch.setattr(Base, "load", load)
    monkeypatch.setattr(data, "GROUP", 8)
    monkeypatch.setattr(train, "BATCH_TOKENS", 1500)


def run(folder: Path, own_answers: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int | None = None) -> Any:
    """Run the command; `stop_after` steps it gets the signal that a person's Ctrl-C is."""
    steps = 0
    take = train.Trainer.step

    def step(self: train.Trainer, documents: Any) -> float:
        nonlocal steps
        loss = take(self, documents)
        steps += 1
        if steps == stop_after:
            os.kill(os.getpid(), signal.SIGINT)
        return loss

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    threads = torch.get_num_threads()
    arguments = ["--run", str(folder), "--own-answers", str(own_answers), "--tokens", str(TOKENS), "--device", "cpu"]
    monkeypatch.setattr("sys.argv", ["train.py", *arguments])
    with monkeypatch.context() as patch:
        patch.setattr(train.Trainer, "step", step)
        try:
            train.main()
        finally:
            torch.set_num_threads(threads)
            for number, handler in before.items():
                signal.signal(number, handler)
    return steps


@pytest.mark.usefixtures("base")
def test_a_run_that_was_stopped_ends_as_an_unbroken_one(
    tmp_path: Path, own_answers: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    total = run(whole, own_answers, monkeypatch)
    assert total > 3
    done = [run(broken, own_answers, monkeypatch, stop_after=1), run(broken, own_answers, monkeypatch, stop_after=2)]
    assert [*done, run(broken, own_answers, monkeypatch)] == [1, 2, total - 3]
    first, second = (load_file(run / "adapter" / "adapter_model.safetensors") for run in (whole, broken))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(first[name].any() for name in first if "lora_B" in name)
    spec = ModelSpec(model=str(folder), device="cpu", dtype="float32", adapter=str(whole / "adapter"))
    assert load_model(spec, report=lambda _: None).name.endswith("with adapter")


@pytest.mark.usefixtures("base")
def test_own_answers_are_held_to_what_the_base_model_expects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "OWN_WORDS", 0.0)
    trainer = train.Trainer(Base.load(), tmp_path, TOKENS)
    ids = [5, 6, 7, 8, 9, 10]
    said, other = (Document([*ids, last], [0.0] * 5 + [1.0] * 2, is_own=True) for last in (11, 12))
    task = replace(said, is_own=False)
    assert trainer.loss([said]).item() == 0.0
    assert trainer.loss([task]).item() > 0.0
    with torch.no_grad():
        for adapter in trainer.adapters.values():
            adapter.b.normal_()
    assert trainer.loss([said]).item() > 0.0
    assert trainer.loss([said]).item() == trainer.loss([other]).item()  # the distribution counts, not the word drawn
    monkeypatch.setattr(train, "OWN_WORDS", 0.3)
    assert trainer.loss([said]).item() != trainer.loss([other]).item()
    both = trainer.loss([said, task]).item()
    assert both == pytest.approx(trainer.loss([said]).item() + trainer.loss([task]).item())


@pytest.mark.usefixtures("base")
def test_documents_hold_answers_only_as_labels(own_answers: Path) -> None:
    base = Base.load()
    documents = Documents(base, own_answers)
    for number in range(40):
        document = documents.document(number)
        assert document == documents.document(number)
        labels = [token for token, weight in zip(document.ids, document.weights, strict=True) if weight]
        assert labels
        assert len(labels) < len(document.ids)


@pytest.mark.usefixtures("base")
def test_the_chat_format_is_the_templates() -> None:
    base = Base.load()
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Again"},
        {"role": "assistant", "content": "Hello you"},
    ]
    ids, weights = base.encode(messages)
    assert base.tokenizer.decode(ids) == base.render(messages).removesuffix("\n")
    said = base.tokenizer.decode([token for token, weight in zip(ids, weights, strict=True) if weight])
    assert said.startswith("Hello")
    assert "Hello you" in said
    assert "Again" not in said


def test_openings_are_held_out_by_their_text() -> None:
    kept = [is_held_out(f"Question {number}?") for number in range(1200)]
    assert 60 < sum(kept) < 140
    assert kept == [is_held_out(f"Question {number}?") for number in range(1200)]


def test_departures_weigh_more_than_copies() -> None:
    assert stress_departures([5, 6, 7, 5, 6, 8], [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]) == [0.0, 0.0, 0.0, 4.0, 1.0, 4.0]
