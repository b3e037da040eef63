"""Get a model: one click downloads from a Hub on this machine while the chat goes on; pause, resume, cancel."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from engine.models.well_known import chat_models
from tests.fake_hub import FakeHub, running

expect: Any = pytest.importorskip("playwright.sync_api").expect

OpenPage = Callable[..., Any]
SIZE = 3_000_000
SLOW = 300_000  # bytes a second


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub with each model of the catalogue, as a file that begins as a model does."""
    start = tmp_path / "start.gguf"
    writer = gguf.GGUFWriter(start, "llama")
    writer.add_tensor("token_embd.weight", np.zeros((2, 2), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with running() as hub:
        for model in chat_models():
            folder = tmp_path / model.name
            folder.mkdir()
            (folder / model.file).write_bytes(start.read_bytes().ljust(SIZE, b"\0"))
            hub.repositories[model.repository] = folder
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def server(hub: FakeHub, start_server: Any) -> Any:
    return start_server(delay_s=0.03)


def unfold(page: Any) -> None:
    page.locator("#get .section-head button").click()
    expect(page.locator("#get-name input")).to_be_visible()


def choose(page: Any, name: str) -> None:
    page.locator("#get-name input").click()
    page.get_by_role("option", name=re.compile(f"^. ?{re.escape(name)} |^{re.escape(name)} ")).click()
    expect(page.locator("#get-name input")).to_have_value(re.compile(f"^{re.escape(name)} "))


def card(page: Any) -> Any:
    return page.locator("#get-card [data-part=sentence]")


def parts(server: Any) -> list[Path]:
    return list((server.home / "hf").rglob("*.part"))


def under_way(page: Any) -> None:
    expect(card(page)).to_have_text(re.compile(r"^Downloading .*: [1-9]\d* kB of 3 MB|^Downloading .*: \d MB of 3 MB"))


def test_one_click_downloads_the_best_fit_while_the_chat_goes_on(
    open_page: OpenPage, server: Any, hub: FakeHub
) -> None:
    page = open_page(server)
    hub.bytes_per_s = SLOW
    offer = page.locator(".welcome .best button")
    expect(offer).to_be_visible()
    offer.click()
    under_way(page)
    expect(offer).to_be_hidden()
    name = page.locator("#get-name input").input_value().partition(" (")[0]
    expect(card(page)).to_have_text(re.compile(f"^Downloading {re.escape(name)}: "))
    page.locator("#box textarea").fill("An answer meanwhile")
    page.locator("#box textarea").press("Enter")
    expect(page.locator("#chat .figures")).to_have_count(1)
    hub.bytes_per_s = None
    expect(card(page)).to_have_text(f"{name} is on this disk.", timeout=60_000)
    expect(page.locator("#get-pause")).to_be_hidden()
    page.locator("#get-load").click()
    (model,) = [model.model for model in chat_models() if model.name == name]
    expect(page.locator("#header")).to_contain_text(model)
    expect(card(page)).to_be_hidden()
    assert parts(server) == []


def test_pause_resume_and_cancel(open_page: OpenPage, server: Any, hub: FakeHub) -> None:
    page = open_page(server)
    unfold(page)
    hub.bytes_per_s = SLOW
    choose(page, "Qwen3 0.6B")
    expect(page.locator("#get-facts")).to_contain_text("596 M parameters")
    page.locator("#get-download").click()
    under_way(page)
    expect(page.locator("#get-download")).to_be_hidden()
    page.locator("#get-pause").click()
    expect(card(page)).to_have_text(re.compile(r"^Qwen3 0\.6B is paused at "))
    (part,) = parts(server)
    kept = part.stat().st_size
    page.locator("#get-resume").click()
    under_way(page)
    assert part.stat().st_size >= kept
    page.reload()
    unfold(page)
    under_way(page)
    first = card(page).inner_text()
    expect(card(page)).not_to_have_text(first)
    page.locator("#get-cancel").click()
    expect(card(page)).to_be_hidden()
    expect(page.locator("#get-download")).to_be_visible()
    assert parts(server) == []


def test_after_a_restart_the_download_can_be_resumed(open_page: OpenPage, server: Any, hub: FakeHub) -> None:
    page = open_page(server)
    unfold(page)
    hub.bytes_per_s = SLOW
    choose(page, "Gemma 3 1B")
    page.locator("#get-download").click()
    under_way(page)
    server.kill()
    hub.bytes_per_s = None
    server.start_again()
    page = open_page(server)
    unfold(page)
    expect(card(page)).to_have_text(re.compile(r"^Gemma 3 1B is paused at "))
    expect(page.locator("#get-name input")).to_have_value(re.compile(r"^Gemma 3 1B "))
    page.locator("#get-resume").click()
    expect(card(page)).to_have_text("Gemma 3 1B is on this disk.", timeout=60_000)
    ranges = hub.transfers("gemma-3-1b-it-Q4_K_M.gguf")
    assert any(span is not None and re.fullmatch(r"bytes=[1-9]\d*-", span) for span in ranges)


def test_a_failure_is_said_and_another_model_waits_its_turn(open_page: OpenPage, server: Any, hub: FakeHub) -> None:
    page = open_page(server)
    unfold(page)
    hub.gated = {"Qwen/Qwen3-0.6B-GGUF"}
    choose(page, "Qwen3 0.6B")
    page.locator("#get-download").click()
    expect(card(page)).to_contain_text("asks its users to accept a licence first")
    expect(page.locator("#get-resume")).to_be_visible()
    hub.bytes_per_s = SLOW
    choose(page, "Gemma 3 1B")
    page.locator("#get-download").click()
    under_way(page)
    page.locator("#get-cancel").click()
    expect(card(page)).to_be_hidden()
