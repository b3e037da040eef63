"""What a person does in the chat: send, stop, continue, edit, regenerate, compare; over a scripted engine."""

import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

expect: Any = pytest.importorskip("playwright.sync_api").expect

OpenPage = Callable[..., Any]
FOOTER = re.compile(r"\d+ tok/s · \d+ tokens · [\d.]+ per round · [\d.]+x est\.")


def send(page: Any, text: str) -> None:
    page.locator("#box textarea").fill(text)
    page.locator("#box textarea").press("Enter")


def await_end(page: Any, count: int = 1) -> None:
    """Until the answer has its footer and the box is free again."""
    expect(page.locator("#chat .note .figures")).to_have_count(count)
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()


def answers(page: Any) -> Any:
    return page.locator("#chat .bot-row .message")


@pytest.fixture(scope="module")
def shared_hold(start_shared_server: Callable[..., Any]) -> Any:
    return start_shared_server(hold_after=30)


@pytest.fixture
def hold(shared_hold: Any) -> Iterator[Any]:
    """A server where an answer to "hold" stands still; none does so any longer than its test."""
    yield shared_hold
    shared_hold.release()


def test_an_answer_streams_in_is_rendered_and_measured(open_page: OpenPage, hold: Any) -> None:
    page = open_page(hold)
    send(page, "Three sides of a coin on hold")
    expect(page.locator("#stop")).to_be_visible()
    expect(page.locator("#send")).to_be_hidden()
    expect(page.locator("#box textarea")).to_have_value("")
    expect(page.locator("#chat .user-row")).to_contain_text("Three sides of a coin")
    expect(page.locator("#live .sentence")).to_have_text(re.compile(r"guessing \d+ tokens? ahead, [\d.]+x est\."))
    hold.release()
    await_end(page)
    answer = answers(page).last
    expect(answer.get_by_role("heading", name="You said")).to_be_visible()
    expect(answer.locator("pre code")).to_contain_text("    return text.upper()")
    expect(answer.locator("table td").first).to_have_text("1")
    expect(answer.locator(".katex").first).to_be_visible()
    expect(page.locator("#chat .figures")).to_have_text(FOOTER)
    expect(page.locator('#meters [data-part="speed"]')).to_have_text(re.compile(r"^\d+$"))
    expect(page.locator('#meters [data-part="speedup"]')).to_have_text(re.compile(r"^[\d.]+x$"))
    expect(page.locator('#meters [data-part="per_round"]')).to_have_text(re.compile(r"^[\d.]+$"))
    said = re.compile(r"\d+ rounds, \d+ of \d+ tokens guessed")
    expect(page.locator("#meters canvas")).to_have_attribute("aria-label", said)
    assert drawn_pixels(page) > 100


def drawn_pixels(page: Any) -> int:
    """Pixels of the live picture that are not empty."""
    count: int = page.evaluate(
        """() => { const c = document.querySelector('#meters canvas');
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let n = 0; for (let i = 3; i < d.length; i += 4) if (d[i]) n++; return n; }"""
    )
    return count


def test_indentation_and_markup_in_a_message_are_kept_and_harmless(open_page: OpenPage, server: Any) -> None:
    page = open_page(server)
    send(page, "    indented\n<img src=x onerror=\"document.title='owned'\"> ${1+1}")
    await_end(page)
    typed = page.locator("#chat .user-row .said").evaluate("node => node.textContent")
    assert typed.startswith("    indented\n<img src=x onerror=")
    expect(page).to_have_title(re.compile("Slipstream"))
    assert "owned" not in page.title()


def test_drafting_is_switched_off_and_on(open_page: OpenPage, server: Any) -> None:
    page = open_page(server)
    page.get_by_label("Drafting", exact=True).uncheck()
    expect(page.locator("#live .sentence")).to_contain_text("drafting is off")
    send(page, "Plain, please")
    await_end(page)
    expect(page.locator("#chat .figures")).to_have_text(re.compile(r"tokens · drafting off"))
    page.get_by_label("Drafting", exact=True).check()
    expect(page.locator("#live .sentence")).to_contain_text("drafting is on")
    send(page, "And with drafting")
    await_end(page, 2)
    expect(page.locator("#chat .figures").last).to_have_text(FOOTER)


def test_drafting_is_switched_off_in_mid_answer_from_the_next_round_on(open_page: OpenPage, hold: Any) -> None:
    page = open_page(hold)
    send(page, "Something long on hold")
    expect(page.locator("#live .sentence")).to_have_text(re.compile(r"guessing \d+ tokens? ahead"))
    page.get_by_label("Drafting", exact=True).uncheck()
    expect(page.locator("#live .sentence")).to_have_text("drafting is off: one token per round")
    expect(page.locator('#meters [data-part="draft"]')).to_have_text("off")
    page.get_by_label("Drafting", exact=True).check()
    expect(page.locator("#live .sentence")).to_have_text("drafting from this round on")
    hold.release()
    await_end(page)


def test_stop_midway_keeps_the_text_and_continue_goes_on(open_page: OpenPage, hold: Any) -> None:
    page = open_page(hold)
    send(page, "Something long on hold")
    expect(answers(page).last).to_contain_text("That can be")
    page.locator("#box textarea").press("Escape")
    await_end(page)
    expect(page.locator("#chat .note .remark")).to_have_text("stopped")
    kept = answers(page).last.inner_text()
    assert "all there is to say" not in kept
    page.reload()
    expect(answers(page).last).to_have_text(kept)
    page.get_by_role("button", name="Continue this answer").click()
    expect(page.locator("#stop")).to_be_visible()
    page.locator("#stop").click()
    await_end(page)
    assert answers(page).last.inner_text().startswith(kept[:20])


def test_edit_branches_and_versions_are_paged(open_page: OpenPage, server: Any) -> None:
    page = open_page(server)
    send(page, "The first wording")
    await_end(page)
    page.locator("#chat .user-row").hover()
    page.locator("#chat .user-row").get_by_role("button", name="Edit").click()
    page.locator("#chat .user-row textarea").fill("A second wording")
    page.locator("#chat .user-row").get_by_role("button", name="Submit").click()
    versions = page.locator("#chat .user-row .versions")
    expect(versions).to_contain_text("2/2")
    await_end(page)
    expect(answers(page).last).to_contain_text("A second wording")
    versions.get_by_role("button", name="Previous version").click()
    expect(versions).to_contain_text("1/2")
    expect(answers(page).last).to_contain_text("The first wording")
    page.reload()
    expect(answers(page).last).to_contain_text("The first wording")


def test_regenerate_puts_another_answer_beside_the_first(open_page: OpenPage, server: Any) -> None:
    page = open_page(server)
    send(page, "Say it twice")
    await_end(page)
    page.locator("#chat .bot-row").get_by_role("button", name="Retry").click()
    expect(page.locator("#chat .bot-row .versions")).to_contain_text("2/2")
    await_end(page)
    page.locator("#chat .bot-row").get_by_role("button", name="Previous version").click()
    expect(page.locator("#chat .bot-row .versions")).to_contain_text("1/2")


def test_a_retry_that_must_repeat_says_why_and_offers_a_warmer_answer(open_page: OpenPage, server: Any) -> None:
    page = open_page(server)
    page.locator("#sampling button").first.click()
    temperature = page.locator('#sampling input[type="number"]').first
    temperature.fill("0")
    temperature.press("Enter")
    temperature.blur()
    send(page, "Say it twice")
    await_end(page)
    page.locator("#chat .bot-row").get_by_role("button", name="Retry", exact=True).click()
    expect(page.locator("#chat .bot-row .remark")).to_contain_text("Retry repeats the answer")
    page.get_by_role("button", name="Retry at temperature 0.7").click()
    expect(page.locator("#chat .bot-row .versions")).to_contain_text("3/3")
    await_end(page)
    expect(page.locator("#chat .bot-row .remark")).to_have_count(0)
    expect(page.locator("#chat .figures")).to_have_attribute("title", re.compile("temperature 0.7"))
    expect(temperature).to_have_value("0")


def test_compare_runs_both_ways_and_ends_in_a_verdict(open_page: OpenPage, server: Any) -> None:
    page = open_page(server)
    page.locator("#box textarea").fill("Both ways, please")
    page.get_by_role("button", name="Compare", exact=True).click()
    plain, adaptive = page.locator('[data-lane="plain"]'), page.locator('[data-lane="adaptive"]')
    expect(plain.locator(".answer")).to_contain_text("You said")
    expect(adaptive.locator(".answer")).to_contain_text("all there is to say")
    card = page.locator("#lanes .card")
    expect(card).to_contain_text(re.compile(r"\d+ of \d+ tokens identical"))
    expect(card.locator("b")).to_have_text(re.compile(r"^[\d.]+x$"))
    expect(card).to_contain_text("tok/s with drafting")
    assert plain.locator(".answer").inner_text() == adaptive.locator(".answer").inner_text()
    page.get_by_role("button", name="Back to the conversation").click()
    expect(page.locator("#chat .figures")).to_have_text(re.compile(r"x measured"))


def test_compare_with_an_empty_box_answers_the_newest_question_again(open_page: OpenPage, server: Any) -> None:
    page = open_page(server)
    send(page, "Once more")
    await_end(page)
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator("#lanes .compare-prompt")).to_have_text("Once more")
    expect(page.locator("#lanes .card")).to_contain_text("tokens identical")
    page.get_by_role("button", name="Back to the conversation").click()
    expect(page.locator("#chat .user-row")).to_have_count(1)
    expect(page.locator("#chat .bot-row .versions")).to_contain_text("2/2")


def test_compare_says_where_the_answers_part(open_page: OpenPage, start_server: Any) -> None:
    page = open_page(start_server(diverge_at=7))
    page.locator("#box textarea").fill("Nearly the same")
    page.get_by_role("button", name="Compare", exact=True).click()
    card = page.locator("#lanes .card")
    expect(card).to_contain_text("diverge at token 8; the 7 before it are identical")
    expect(card).to_contain_text("differed by 0.01562")


def test_a_reloaded_tab_attaches_to_the_running_answer(open_page: OpenPage, hold: Any) -> None:
    page = open_page(hold)
    send(page, "Still going, on hold")
    expect(answers(page).last).to_contain_text("You said")
    page.reload()
    expect(page.locator("#stop")).to_be_visible()
    expect(page.locator("#chat .user-row")).to_contain_text("Still going")
    hold.release()
    await_end(page)
    expect(answers(page).last).to_contain_text("all there is to say")


def test_a_new_chat_stays_as_it_is_while_an_answer_is_written_elsewhere(open_page: OpenPage, hold: Any) -> None:
    page = open_page(hold)
    page.locator("#answer button").first.click()
    send(page, "Takes its time, on hold")
    expect(answers(page).last).to_contain_text("You said")
    page.get_by_role("button", name="New chat", exact=True).click()
    expect(page.locator("#live .sentence")).to_contain_text("in another conversation")
    page.locator(".conversation-open", has_text="Takes its time").click()
    expect(page.locator("#header h1")).to_have_text("Takes its time, on hold")
    expect(answers(page).last).to_contain_text("You said")
    page.get_by_role("button", name="New chat", exact=True).click()
    expect(page.locator("#live .sentence")).to_contain_text("in another conversation")
    hold.release()
    expect(page.locator("#live .sentence")).not_to_contain_text("in another conversation")
    expect(page.locator("#header h1")).to_have_text("New chat")
    expect(page.locator(".welcome")).to_be_visible()
    expect(page.get_by_label("Longest answer")).to_have_value("1024")
    expect(page.get_by_label("Drafting", exact=True)).to_be_checked()
    page.locator(".conversation-open").first.click()
    expect(answers(page).last).to_contain_text("all there is to say")


def test_messages_that_cannot_be_sent_get_a_sentence(open_page: OpenPage, server: Any) -> None:
    page = open_page(server)
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_text("The message is empty: write something first.")).to_be_visible()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_text("Write the message to compare first")).to_be_visible()
    page.locator("#box textarea").fill("y" * 1_000_000)
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_text("The message has 1,000,000 characters; at most 200,000 fit.")).to_be_visible()
    expect(page.locator("#box textarea")).to_have_value("y" * 1_000_000)  # nothing typed is lost


def test_control_characters_are_left_out(open_page: OpenPage, server: Any) -> None:
    page = open_page(server)
    send(page, "be\x07ll and \x1b[31mcolour")
    await_end(page)
    expect(page.locator("#chat .user-row")).to_contain_text("bell and [31mcolour")


def test_a_full_disk_is_said_and_nothing_typed_is_lost(open_page: OpenPage, start_server: Any) -> None:
    page = open_page(start_server(disk_pages=60))
    send(page, "This one fits")
    await_end(page)
    send(page, "z" * 190_000)
    full = re.compile("The disk with .* is full .* Free some space and try again")
    expect(page.get_by_text(full).first).to_be_visible()  # it is also said of the draft
    expect(page.locator("#box textarea")).to_have_value("z" * 190_000)
    expect(page.locator("#chat .user-row")).to_have_count(1)
    send(page, "And this one too")
    await_end(page, 2)


def test_an_answer_in_circles_is_named_and_answered_again_with_a_penalty(
    open_page: OpenPage, start_server: Any
) -> None:
    server = start_server(answers=["Let us see:" + " round and round it goes," * 60, "Another answer."], hold_after=90)
    page = open_page(server)
    send(page, "hold: what is a loop?")
    live = page.locator("#live")
    expect(live.locator(".sentence")).to_contain_text("the answer goes in circles; unless you asked for that, stop it")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.locator("#meters [data-part=speedup]")).to_have_text("–")
    expect(page.locator("#meters [data-part=speedup_note]")).to_have_text(
        "times as fast, not counted: it goes in circles"
    )
    accent, soft = (
        page.evaluate(f"getComputedStyle(document.querySelector('{where}')).getPropertyValue('{name}').trim()")
        for where, name in (("#meters canvas", "--accent"), ("body", "--soft"))
    )
    assert accent == soft
    if os.environ.get("SLIPSTREAM_SCREENSHOTS"):
        page.screenshot(path=os.environ["SLIPSTREAM_SCREENSHOTS"] + "/running.png")
        page.set_viewport_size({"width": 390, "height": 780})
        page.screenshot(path=os.environ["SLIPSTREAM_SCREENSHOTS"] + "/narrow.png")
        page.set_viewport_size({"width": 1440, "height": 900})
    live.get_by_role("button", name="Answer again").click()
    server.release()
    expect(answers(page)).to_have_text("Another answer.")
    await_end(page)
    expect(page.locator("#chat .note .versions")).to_have_text("‹2/2›")
    expect(live.get_by_role("button", name="Answer again")).not_to_be_visible()
    page.get_by_role("button", name="Previous version").click()
    expect(page.locator("#chat .note .figures")).to_contain_text("goes in circles from token")
    expect(page.locator("#chat .note .figures")).not_to_contain_text("est.")
    page.get_by_role("button", name="Answer again with a repetition penalty").click()
    expect(page.locator("#chat .note .versions")).to_have_text("‹3/3›")


def test_a_looping_answer_that_was_stopped_says_so(open_page: OpenPage, start_server: Any) -> None:
    page = open_page(start_server(answers=[" round and round it goes," * 90], hold_after=90))
    send(page, "hold")
    expect(page.locator("#live").get_by_role("button", name="Answer again")).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    await_end(page)
    expect(page.locator("#chat .note .remark")).to_have_text("stopped")
    expect(page.locator("#live .sentence")).to_contain_text("goes in circles from token")
