"""The line on the trained drafter: a training that an earlier start left is resumed, fails, and is discarded."""

import json
from collections.abc import Callable
from typing import Any

import pytest

expect: Any = pytest.importorskip("playwright.sync_api").expect

OpenPage = Callable[..., Any]
PATIENCE_MS = 60_000  # a process starts, behind all others


def test_a_training_is_resumed_fails_in_a_sentence_and_is_discarded(open_page: OpenPage, start_server: Any) -> None:
    server = start_server()
    packs = server.home / "drafters"
    folder = packs / "Gone"
    folder.mkdir(parents=True)
    order = {"name": "Gone", "pack": str(folder), "arguments": ["--prompts", "/no/such/file", "--offline"]}
    (packs / "training.json").write_text(json.dumps(order))
    server.kill()
    server.start_again()
    page = open_page(server)
    page.locator("#model .section-head button").click()
    line = page.locator("#trainer")
    said = line.locator("[data-part=sentence]")
    expect(said).to_have_text("The training of a drafter for Gone is paused. What it has is kept.")
    line.get_by_role("button", name="Resume").click()
    expect(said).to_contain_text("The prompts /no/such/file cannot be read", timeout=PATIENCE_MS)
    expect(line.get_by_role("button", name="Try again")).to_be_visible()
    line.get_by_role("button", name="Discard").click()
    expect(said).to_contain_text("Discard the training for Gone?")
    line.get_by_role("button", name="Keep it").click()
    expect(said).to_contain_text("cannot be read")
    assert folder.exists()
    line.get_by_role("button", name="Discard").click()
    expect(said).to_contain_text("Discard the training for Gone?")
    line.get_by_role("button", name="Discard").click()
    expect(said).to_be_hidden()
    assert not folder.exists()
    assert not (packs / "training.json").exists()
