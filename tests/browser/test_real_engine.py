"""The whole application with the starter model: what a person does, and kill -9 in the middle of it.

Nothing here depends on what the model says, nor on how fast: an answer that is to be interrupted stands still as soon
as some of it is on the page, because the engine's process is suspended. Where one has ended by then, the next prompt is
tried.
"""

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

playwright: Any = pytest.importorskip("playwright.sync_api")
expect: Any = playwright.expect

OpenPage = Callable[..., Any]
FIGURES = re.compile(r"^[\d,]+ tok/s · \d+ tokens? · [\d.]+ per round")
READY_MS = 120_000
TRIES = 5

pytestmark = pytest.mark.timeout(900)  # a slow machine loads the model for a minute, and some tests load it three times


@pytest.fixture(scope="module")
def real_server(start_shared_server: Callable[..., Any]) -> Any:
    return start_shared_server(real=True)


@pytest.fixture
def page(open_page: OpenPage, real_server: Any) -> Any:
    page = open_page(real_server)
    await_model(page)
    return page


def await_model(page: Any) -> None:
    expect(page.locator("#header .badge")).to_be_visible(timeout=READY_MS)
    busy = re.compile("loading|loaded again|one-time check")
    expect(page.locator("#live .sentence")).not_to_contain_text(busy, timeout=READY_MS)


def send(page: Any, text: str) -> None:
    page.locator("#box textarea").fill(text)
    page.locator("#box textarea").press("Enter")


def await_end(page: Any, count: int) -> None:
    """Until `count` answers have ended and the box is free again."""
    expect(page.locator("#chat .note").filter(has=page.locator(".figures, .remark"))).to_have_count(
        count, timeout=READY_MS
    )
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()


def answers(page: Any) -> Any:
    return page.locator("#chat .bot-row .message")


def limit(page: Any, *, tokens: int, temperature: float = 0) -> None:
    """Set how long and how wild the next answers are."""
    for drawer, label, value in (("answer", "Longest answer", tokens), ("sampling", "Temperature", temperature)):
        field = page.locator(f'#{drawer} input[type="number"]').first
        if not field.is_visible():
            page.locator(f"#{drawer} button").first.click()
        expect(page.locator(f"#{drawer}")).to_contain_text(label)
        field.fill(str(value))
        field.press("Enter")
        field.blur()


def interrupt(page: Any, server: Any, act: Callable[[str], None], remark: re.Pattern[str]) -> str:
    """Begin long answers until `act` cuts one short, done while it stands still in mid-text; returns the prompt."""
    for _ in range(TRIES):
        page.get_by_role("button", name="New chat", exact=True).click()
        expect(page.locator(".welcome")).to_be_visible()
        limit(page, tokens=1900, temperature=2)
        prompt = f"Tell the longest story of the lighthouse keeper {uuid4().hex[:12]} with every detail"
        with begun(page, server, prompt):
            act(prompt)
        await_end(page, 1)
        notes = page.locator("#chat .note .remark")
        if notes.count() and remark.search(notes.inner_text()):
            return prompt
        await_model(page)
    raise AssertionError(f"{TRIES} answers ended with their first words")


@contextmanager
def begun(page: Any, server: Any, prompt: str) -> Iterator[None]:
    """Send the prompt and let the engine work just until words of the answer are shown, then not before the end."""
    worker = worker_of(server)
    worker.suspend()
    try:
        send(page, prompt)
        expect(page.locator("#stop")).to_be_visible()
        for step in range(17):
            if page.locator("#stop").is_hidden():
                break  # it has ended
            worker.resume()
            time.sleep(0.001 * 2**step)  # so that it works at most twice as long as the first words take
            worker.suspend()
            with suppress(AssertionError):
                expect(answers(page).last).to_have_text(re.compile(r"\S{3}"), timeout=500)
                break
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            worker.resume()


def figure(page: Any, part: str) -> Any:
    return page.locator(f'#meters [data-part="{part}"]')


def test_answers_stream_and_drafting_is_switched_off_and_on(page: Any) -> None:
    limit(page, tokens=96)
    send(page, "Repeat this list three times: apple, pear, plum, cherry.")
    expect(answers(page).last).to_have_text(re.compile(r"\S"))
    await_end(page, 1)
    expect(page.locator("#chat .figures")).to_have_text(FIGURES)
    assert float(figure(page, "per_round").inner_text()) >= 1
    expect(figure(page, "speedup")).to_have_text(re.compile(r"^[\d.]+x$"))

    page.get_by_label("Drafting", exact=True).uncheck()
    expect(page.locator("#live .sentence")).to_contain_text("drafting is off")
    send(page, "And once more, please.")
    await_end(page, 2)
    expect(page.locator("#chat .figures").last).to_contain_text("drafting off")
    expect(figure(page, "per_round")).to_have_text("1.0")

    page.get_by_label("Drafting", exact=True).check()
    expect(page.locator("#live .sentence")).to_contain_text("drafting is on")
    send(page, "And a last time.")
    await_end(page, 3)
    expect(page.locator("#chat .figures").last).to_have_text(FIGURES)


def test_a_comparison_ends_in_the_verdict_identical(page: Any) -> None:
    limit(page, tokens=96)
    page.locator("#box textarea").fill("Repeat this: red, green, blue, red, green, blue, red, green, blue.")
    page.get_by_role("button", name="Compare", exact=True).click()
    card = page.locator("#lanes .card")
    verdict = card.locator('[data-part="card-verdict"]')
    expect(verdict).to_have_text(re.compile(r"^(\d+) of \1 tokens identical"), timeout=READY_MS)
    expect(card.locator("b")).to_have_text(re.compile(r"^[\d.]+x$"))
    plain, adaptive = (page.locator(f'[data-lane="{lane}"] .answer').inner_text() for lane in ("plain", "adaptive"))
    assert plain == adaptive
    assert plain.strip()
    page.get_by_role("button", name="Back to the conversation").click()
    expect(page.locator("#chat .figures")).to_have_text(re.compile("x measured"))


def test_an_edit_branches_and_a_reload_keeps_both_versions(page: Any) -> None:
    limit(page, tokens=48)
    send(page, "Name three rivers.")
    await_end(page, 1)
    first = answers(page).last.inner_text()
    user = page.locator("#chat .user-row")
    user.hover()
    user.get_by_role("button", name="Edit").click()
    user.locator("textarea").fill("Write a list of fruit.")
    user.get_by_role("button", name="Submit").click()
    expect(user.locator(".versions")).to_contain_text("2/2")
    await_end(page, 1)
    second = answers(page).last.inner_text()
    figures = page.locator("#chat .figures").inner_text()
    page.reload()
    expect(answers(page).last).to_have_text(second)
    expect(page.locator("#chat .figures")).to_have_text(figures)
    user.get_by_role("button", name="Previous version").click()
    expect(user).to_contain_text("Name three rivers.")
    expect(answers(page).last).to_have_text(first)


def test_stop_midway_keeps_the_text_and_the_next_message_works(page: Any, real_server: Any) -> None:
    def stop(_: str) -> None:
        page.locator("#box textarea").press("Escape")
        # Or it has ended, with a word or two: then the next prompt is tried.
        expect(page.locator("#live .sentence")).to_have_text(re.compile("^(stopping after this round|done[:,] .*)$"))

    prompt = interrupt(page, real_server, stop, re.compile("stopped"))
    shown = answers(page).last.inner_text()
    _, status, text = saved(real_server, prompt)
    assert status == "stopped"
    assert text.strip()
    page.reload()
    expect(answers(page).last).to_contain_text(shown.split()[0])
    expect(page.locator("#chat .remark")).to_have_text("stopped")
    limit(page, tokens=16)
    send(page, "Short, please.")
    await_end(page, 2)
    expect(page.locator("#chat .figures").last).to_have_text(FIGURES)


def test_a_prompt_over_the_context_is_a_sentence_and_the_next_message_works(page: Any) -> None:
    send(page, "lighthouse " * 9_000)
    expect(page.locator("#chat .remark")).to_have_text(re.compile(r"[\d,]+ tokens.*[\d,]+"))
    page.get_by_role("button", name="New chat", exact=True).click()
    expect(page.locator(".welcome")).to_be_visible()
    limit(page, tokens=16)
    send(page, "A short one.")
    await_end(page, 1)
    expect(page.locator("#chat .figures")).to_have_text(FIGURES)


def test_a_broken_model_folder_is_a_sentence_and_the_starter_model_answers(page: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    page.locator("#model button").first.click()
    name = page.get_by_label("Name, folder, GGUF file or Hub id")
    name.fill(str(tmp_path))
    name.press("Enter")
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.get_by_text("there is no model.safetensors in the folder")).to_be_visible()
    limit(page, tokens=16)
    send(page, "Still there?")
    await_end(page, 1)
    expect(page.locator("#chat .figures")).to_have_text(FIGURES)


def worker_of(server: Any) -> psutil.Process:
    """The engine's process."""
    children = psutil.Process(server.process.pid).children(recursive=True)
    (worker,) = (child for child in children if "engine.process.worker" in child.cmdline())
    return worker


def test_killing_the_engine_costs_one_answer_and_keeps_its_text(page: Any, real_server: Any) -> None:
    def kill(_: str) -> None:
        worker_of(real_server).kill()
        expect(page.locator("#live .sentence")).to_contain_text(re.compile("killed|loaded again|engine"))

    killed = re.compile("process was killed .*The answer so far is kept")
    prompt = interrupt(page, real_server, kill, killed)
    shown = answers(page).last.inner_text()
    _, status, text = saved(real_server, prompt)
    assert status == "interrupted"
    assert text.strip()
    await_model(page)
    limit(page, tokens=16)
    send(page, "Are you back?")
    await_end(page, 2)
    expect(page.locator("#chat .figures").last).to_have_text(FIGURES)
    page.reload()
    expect(answers(page).first).to_contain_text(shown.split()[0])
    assert saved(real_server, prompt)[1:] == (status, text)
    expect(page.locator("#chat .remark").first).to_contain_text(killed)


def saved(server: Any, prompt: str) -> tuple[int, str, str]:
    """Conversation, status and text of the newest answer to `prompt`, read from the file itself."""
    with closing(sqlite3.connect(f"file:{server.home / 'slipstream.db'}?mode=ro", uri=True, timeout=10)) as file:
        row: tuple[int, str, str] = file.execute(
            "select a.conversation_id, a.status, a.text from messages a join messages q on a.parent_id = q.id "
            "where q.text = ? order by a.id desc limit 1",
            [prompt],
        ).fetchone()
    return row


def test_killing_everything_midway_loses_nothing_that_was_saved(page: Any, real_server: Any) -> None:
    before: list[str] = []

    def kill(prompt: str) -> None:
        while not (text := saved(real_server, prompt)[2]):
            page.wait_for_timeout(50)
        real_server.kill()
        before.append(text)
        expect(page.locator("#gone")).to_contain_text("Slipstream has stopped")
        real_server.start_again()
        expect(page.locator("#gone")).to_be_hidden(timeout=READY_MS)

    prompt = interrupt(page, real_server, kill, re.compile("interrupted: this part was kept"))
    conversation_id, status, text = saved(real_server, prompt)
    assert status == "interrupted"
    assert text.startswith(before[-1])
    with real_server.request(f"export/{conversation_id}.md") as answer:
        assert text.strip() in answer.read().decode()
    expect(answers(page).last).to_have_text(re.compile(r"\S"))

    page.get_by_role("button", name="New chat", exact=True).click()
    expect(page.locator(".welcome")).to_be_visible()
    page.locator("#search input, #search textarea").fill(prompt.split()[8])
    found = page.locator("#conversations .conversation-open")
    expect(found).to_have_count(1)
    found.click()
    expect(page.locator("#chat .user-row")).to_contain_text(prompt)
    expect(page.locator("#chat .remark")).to_have_text("interrupted: this part was kept")
    await_model(page)
    limit(page, tokens=16)
    send(page, "Go on in a few words.")
    await_end(page, 2)
