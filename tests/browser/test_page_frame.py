"""Around the chat: conversations, restart, model picker, narrow screen, colours, keyboard."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

expect: Any = pytest.importorskip("playwright.sync_api").expect

OpenPage = Callable[..., Any]


def send(page: Any, text: str) -> None:
    page.locator("#box textarea").fill(text)
    page.locator("#box textarea").press("Enter")


def new_chat(page: Any) -> None:
    if not page.locator(".welcome").is_visible():
        page.get_by_role("button", name="New chat", exact=True).click()
    expect(page.locator(".welcome")).to_be_visible()


def converse(page: Any, text: str) -> None:
    """A new conversation with one answer."""
    new_chat(page)
    send(page, text)
    expect(page.locator("#chat .figures")).to_have_count(1)


COLOURS = """function look() {
  if (document.querySelector("gradio-app")) window.seen.push(document.body.classList.contains("dark"));
  requestAnimationFrame(look);
}"""


def test_the_colours_that_were_chosen_stay(open_page: OpenPage, start_server: Any) -> None:
    server = start_server()
    page = open_page(server)
    expect(page.locator("body")).not_to_have_class(re.compile(r"\bdark\b"))
    with page.expect_response("**/theme"):
        page.get_by_role("button", name="Dark", exact=True).click()
    expect(page.locator("body")).to_have_class(re.compile(r"\bdark\b"))
    page.add_init_script(f"window.seen = []; requestAnimationFrame({COLOURS})")
    page.reload()
    expect(page.get_by_role("button", name="Dark", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(page.locator("body")).to_have_class(re.compile(r"\bdark\b"))
    assert set(page.evaluate("window.seen")) == {True}, "the other colours were seen first"
    page.emulate_media(color_scheme="light")
    with page.expect_response("**/theme"):
        page.get_by_role("button", name="System", exact=True).click()
    expect(page.locator("body")).not_to_have_class(re.compile(r"\bdark\b"))


COUNTED = "window.frames_asked = 0; const ask = requestAnimationFrame;"
COUNTED += "requestAnimationFrame = (draw) => { window.frames_asked += 1; return ask(draw); }"


def test_a_page_at_rest_draws_nothing(open_page: OpenPage, server: Any) -> None:
    page = open_page(server)
    page.add_init_script(COUNTED)
    page.reload()
    converse(page, "One answer")
    page.wait_for_timeout(1000)
    before = page.evaluate("window.frames_asked")
    page.wait_for_timeout(1000)
    assert page.evaluate("window.frames_asked") - before < 10  # of about sixty


def listed(page: Any) -> Any:
    return page.locator("#conversations .conversation-title")


def test_the_empty_chat_teaches(open_page: OpenPage, server: Any) -> None:
    page = open_page(server)
    prompts = page.locator(".welcome .prompts button:visible")
    expect(prompts).to_have_count(5)
    foot = page.locator(".welcome .foot:visible")
    expect(foot).to_contain_text("SmolLM2 135M")
    prompts.nth(1).click()
    expect(page.locator("#box textarea")).to_have_value(re.compile("When does the first train leave"))
    expect(page.locator("#box textarea")).to_be_focused()


def test_the_empty_chat_speaks_of_the_model_that_is_loaded(open_page: OpenPage, start_server: Any) -> None:
    page = open_page(start_server())
    prompts, foot = page.locator(".welcome .prompts button:visible"), page.locator(".welcome .foot:visible")
    page.locator("#model button").first.click()
    name = page.get_by_label("Name, folder, GGUF file or Hub id")
    for model, said in (("starter", "The starter model is a small demonstration"), ("some/model", "is the model that")):
        loaded = page.locator("#load").get_by_text(f"{model} is loaded.")
        name.fill(model)
        name.press("Enter")
        expect(name).to_have_value("some/model" if model == "some/model" else "Starter (small demonstration)")
        page.get_by_role("button", name="Load", exact=True).click()
        expect(loaded).to_have_count(1)
        expect(foot).to_have_count(1)
        expect(foot).to_contain_text(said)
        expect(prompts).to_have_count(5)
        prompts.nth(1).click()
        expect(page.locator("#box textarea")).to_have_value(re.compile("Rename the variable"))
    shown = foot.locator(".model-name").evaluate("it => getComputedStyle(it, '::before').content")
    assert shown == '"some/model"'


SCROLLED = """async box => {
  const frame = () => new Promise(requestAnimationFrame);
  for (const to of [box.scrollHeight, 0, box.scrollHeight]) {
    box.scrollTop = to;
    await frame();
    await frame();
  }
}"""


def test_the_message_box_takes_the_focus_once(open_page: OpenPage, server: Any) -> None:
    page = open_page(server)
    box, search = page.locator("#box textarea"), page.locator("#search input, #search textarea")
    expect(box).to_be_focused()
    box.fill("more lines than the box shows\n" * 40)
    search.focus()
    box.evaluate(SCROLLED)
    expect(search).to_be_focused()


def test_the_keys_are_shown_and_the_context_is_metered(open_page: OpenPage, start_server: Any) -> None:
    page = open_page(start_server())
    converse(page, "How full is it?")
    expect(page.locator('#meters [data-part="context"]')).to_have_text(re.compile(r"context: \d+ of [\d,]+ tokens"))
    page.locator("#box textarea").press("?")
    expect(page.locator("#box textarea")).to_have_value("?")
    page.locator("#header h1").click()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("start a line")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()


def test_on_a_touched_screen_enter_starts_a_line(open_page: OpenPage, server: Any) -> None:
    page = open_page(server, viewport={"width": 390, "height": 780}, has_touch=True, is_mobile=True)
    box = page.locator("#box textarea")
    expect(box).to_have_attribute("placeholder", "Write a message")
    box.fill("one")
    box.press("Enter")
    box.press_sequentially("two")
    expect(box).to_have_value("one\ntwo")
    expect(page.locator("#chat .user-row")).to_have_count(0)
    page.locator("#send").click()
    expect(page.locator("#chat .user-row .said")).to_contain_text("one")


def test_the_meters_stay_beside_the_chat_while_settings_are_open(open_page: OpenPage, server: Any) -> None:
    page = open_page(server, viewport={"width": 1024, "height": 700})
    page.get_by_role("button", name="Meters and settings").click()
    for section in ("sampling", "answer"):
        page.locator(f"#{section} .section-head button").click()
    page.locator("#drafter").scroll_into_view_if_needed()
    expect(page.locator('#meters [data-part="speed"]')).to_be_in_viewport()
    page.locator("#box textarea").click()  # nothing lies over the chat
    expect(page.locator("#left")).to_be_hidden()
    page.get_by_role("button", name="Conversations", exact=True).click()
    expect(page.locator("#left")).to_be_visible()
    expect(page.locator("#right")).to_be_hidden()


def test_a_screen_reader_is_told_who_speaks_and_the_answer_by_the_sentence(
    open_page: OpenPage, start_server: Any
) -> None:
    page = open_page(start_server(answers=["A first sentence. And a second one. The end"], delay_s=0.2))
    converse(page, "Tell me")
    expect(page.get_by_role("article", name="You")).to_contain_text("Tell me")
    expect(page.get_by_role("article", name="The model")).to_contain_text("A first sentence.")
    expect(page.locator("#told")).to_contain_text("The end")
    assert page.locator("#chat [aria-live=polite]").count() == 0


def test_settings_belong_to_their_conversation(open_page: OpenPage, start_server: Any) -> None:
    page = open_page(start_server())
    page.get_by_label("Drafting", exact=True).uncheck()
    converse_here(page, "Without drafting")
    page.get_by_role("button", name="New chat", exact=True).click()
    expect(page.get_by_label("Drafting", exact=True)).to_be_checked()
    page.locator(".conversation-open").first.click()
    expect(page.get_by_label("Drafting", exact=True)).not_to_be_checked()
    page.locator("#answer button").first.click()
    memory = page.get_by_label("Guess ahead from other conversations")
    expect(memory).to_be_checked()
    memory.uncheck()
    drafter = page.get_by_label("Drafter", exact=True)
    drafter.click()
    page.get_by_role("option", name="prompt lookup").click()
    with page.expect_response(saves("Speak like a sailor.")):
        page.get_by_label("System prompt").press_sequentially("Speak like a sailor.")  # from the first moment on
    page.reload()
    page.locator("#answer button").first.click()
    expect(page.get_by_label("System prompt")).to_have_value("Speak like a sailor.")
    expect(memory).not_to_be_checked()
    expect(drafter).to_have_value("prompt lookup")
    page.get_by_role("button", name="New chat", exact=True).click()
    expect(memory).to_be_checked()


def saves(value: str) -> Callable[[Any], bool]:
    """Whether a response ends the request that carries this setting."""
    return lambda response: json.dumps(value) in (response.request.post_data or "") and response.ok


def test_the_last_of_quick_changes_is_kept(open_page: OpenPage, start_server: Any) -> None:
    page = open_page(start_server())
    converse_here(page, "Hello")
    drafting = page.get_by_label("Drafting", exact=True)
    held: list[Any] = []
    page.route("**/run/predict", lambda route: route.continue_() if held else held.append(route))
    with page.expect_request("**/run/predict"):
        drafting.uncheck()
    drafting.check()
    with page.expect_response(lambda response: '"data":[null,true,' in (response.request.post_data or "")):
        held[0].continue_()
    expect(page.locator("#live .sentence")).to_contain_text("drafting is on")
    page.reload()
    expect(page.locator("#chat .figures")).to_have_count(1)
    expect(drafting).to_be_checked()


def test_a_setting_that_cannot_be_gets_a_sentence(open_page: OpenPage, server: Any) -> None:
    page = open_page(server)
    page.locator("#answer button").first.click()
    page.get_by_label("Longest answer").fill("")
    page.get_by_label("Longest answer").blur()
    expect(page.locator("#live .sentence")).to_have_text("Longest answer must be a whole number.")
    page.get_by_label("Longest answer").fill("12")
    page.get_by_label("Longest answer").blur()
    expect(page.locator("#live .sentence")).to_have_text("ready, drafting is on")


def converse_here(page: Any, text: str) -> None:
    send(page, text)
    expect(page.locator("#chat .figures")).to_have_count(1)


def test_a_message_that_is_sent_while_the_model_loads_is_answered_by_it(open_page: OpenPage, start_server: Any) -> None:
    server = start_server(hold_load=True)
    page = open_page(server)
    send(page, "Anybody there?")
    expect(page.locator("#box textarea")).to_have_value("")
    expect(page.get_by_text("Anybody there?").first).to_be_visible()
    expect(page.locator("#live .sentence")).to_contain_text("then your message is answered")
    server.release()
    expect(page.locator("#live .sentence")).to_contain_text("done")
    expect(page.get_by_text("all there is to say")).to_be_visible()
    expect(page.locator("#header .model")).to_have_text("smollm2")
    page.locator("#sampling button").first.click()
    expect(page.get_by_label("Temperature").first).to_have_value("0.7")


def test_a_model_is_loaded_and_unloaded(open_page: OpenPage, start_server: Any) -> None:
    server = start_server(hold_load=True)
    page = open_page(server)
    server.release()
    expect(page.locator("#header .model")).to_have_text("smollm2")
    page.locator("#model button").first.click()
    name = page.get_by_label("Name, folder, GGUF file or Hub id")
    name.focus()
    for label in ("Compress to save memory", "Number format", "Longest context"):
        page.keyboard.press("Tab")
        expect(page.get_by_label(label)).to_be_focused()
    expect(page.get_by_role("listbox")).to_have_count(0)
    name.fill("tiny/model")
    name.press("Enter")
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.locator("#live .sentence")).to_have_text(re.compile(r"loading weights \d+ %"))
    expect(page.locator("#model-unload")).to_have_text("Cancel")
    server.release()
    expect(page.locator("#load")).to_contain_text("tiny/model is loaded.")
    expect(page.locator("#model-unload")).to_have_text("Unload")
    expect(page.locator("#header .model")).to_have_text("tiny/model")
    expect(page.locator("#header .badge")).to_contain_text("same words guaranteed")
    page.get_by_role("button", name="Unload").click()
    expect(page.locator("#header .model")).to_have_text("no model loaded")
    expect(page.locator("#live .sentence")).to_contain_text("no model is loaded")
    send(page, "Anybody there?")
    expect(page.get_by_text("No model is loaded: choose one under Model")).to_be_visible()
    expect(page.locator("#box textarea")).to_have_value("Anybody there?")


def test_a_narrow_screen_folds_its_sides_and_keeps_the_speed_line(open_page: OpenPage, server: Any) -> None:
    page = open_page(server, viewport={"width": 390, "height": 780})
    heading, header = page.locator(".welcome h2"), page.locator("#header")
    expect(heading).to_be_visible()
    assert heading.bounding_box()["y"] >= header.bounding_box()["y"] + header.bounding_box()["height"]
    expect(page.locator("#left")).not_to_be_in_viewport()
    expect(page.locator("#right")).not_to_be_in_viewport()
    expect(page.locator("#live .sentence")).to_be_in_viewport()
    send(page, "On a telephone")
    expect(page.locator("#live")).to_contain_text(re.compile(r"\d+ tok/s"))
    expect(page.locator("#live")).to_be_in_viewport()
    page.get_by_role("button", name="Meters and settings").click()
    expect(page.locator("#meters")).to_be_in_viewport()
    page.keyboard.press("Escape")
    expect(page.locator("#meters")).not_to_be_in_viewport()
    page.get_by_role("button", name="Conversations", exact=True).click()
    expect(page.get_by_role("button", name="New chat", exact=True)).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_certificate_is_explained_on_focus(open_page: OpenPage, server: Any) -> None:
    page = open_page(server)
    expect(page.locator(".badge .explain")).to_be_hidden()
    page.locator(".badge button").focus()
    expect(page.get_by_role("tooltip")).to_contain_text("Drafting on or off gives the same words")


def test_keys_reach_search_and_a_new_chat(open_page: OpenPage, server: Any) -> None:
    page = open_page(server)
    keys = [
        {"key": "K", "code": "KeyK"},
        {"key": "\N{CYRILLIC SMALL LETTER EL}", "code": "KeyK"},
        {"key": "\u0144", "code": "KeyN"},
    ]
    assert page.evaluate("keys => keys.map(window.slipstream.letter)", keys) == ["k", "k", "\u0144"]
    page.keyboard.press("Control+k")
    expect(page.locator("#search input, #search textarea")).to_be_focused()
    page.locator("#box textarea").fill("one")
    page.locator("#box textarea").press("Shift+Enter")
    page.locator("#box textarea").press_sequentially("two")
    expect(page.locator("#box textarea")).to_have_value("one\ntwo")
    with page.expect_response(lambda answer: "/draft/" in answer.url and not answer.request.post_data):
        page.locator("#box textarea").fill("")  # the server keeps what is half written, for the next test, too


def test_conversations_leave_as_a_file_and_come_back(open_page: OpenPage, start_server: Any, tmp_path: Any) -> None:
    page = open_page(start_server())
    converse(page, "To be kept elsewhere")
    with page.expect_download() as download:
        page.locator("#files .export").last.get_by_role("link", name="JSON").click()
    file = tmp_path / "conversations.json"
    download.value.save_as(file)
    assert "To be kept elsewhere" in json.dumps(json.loads(file.read_text()))
    dialog, chosen = page.locator("#import"), page.locator('#files input[type="file"]')
    chosen.set_input_files(file)
    expect(dialog).to_contain_text("There is nothing new to import")
    expect(dialog).to_contain_text("1 chat is here already, and not imported again.")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    grown = json.loads(file.read_text())
    first, second, *_ = messages = grown["conversations"][0]["messages"]
    first["text"] = "Said otherwise <b>elsewhere</b>"
    messages += [{**(first, second)[at % 2], "id": at + 1, "parent": at, "text": f"Words {at}"} for at in range(2, 240)]
    grown["conversations"][0]["tip"] = 240
    file.write_text(json.dumps(grown))
    chosen.set_input_files(file)
    expect(dialog).to_contain_text("1 chat can be imported")
    page.keyboard.press("Escape")
    expect(dialog).to_contain_text("The import was cancelled. Nothing was changed.")
    dialog.get_by_role("button", name="Close").click()
    chosen.set_input_files(file)
    expect(dialog).to_contain_text("1 chat can be imported")
    expect(listed(page)).to_have_count(1)
    dialog.get_by_role("button", name="Import 1 chat").click()
    expect(dialog).to_contain_text("1 chat was imported.")
    expect(listed(page)).to_have_count(2)
    dialog.get_by_role("button", name="Undo the import").click()
    expect(dialog).to_contain_text("1 chat is in the trash")
    expect(listed(page)).to_have_count(1)
    dialog.get_by_role("button", name="Close").click()
    chosen.set_input_files(file)
    dialog.get_by_role("button", name="Import 1 chat").click()
    expect(dialog).to_contain_text("1 chat was imported.")
    dialog.get_by_role("button", name="Close").click()
    page.locator(".conversation:not(.current) .conversation-open").click()
    expect(page.locator("#earlier")).to_have_text("Show earlier messages (120)")
    page.keyboard.press("Control+f")  # the browser's search finds what is drawn
    expect(page.locator("#chat .message-row")).to_have_count(240)
    expect(page.locator("#earlier")).to_have_count(0)
    wrong = tmp_path / "wrong.json"
    wrong.write_text("{}")
    chosen.set_input_files(wrong)
    expect(dialog).to_contain_text("wrong.json is no export of Slipstream, ChatGPT")


def test_the_picker_looks_again_when_the_page_is_opened(open_page: OpenPage, start_server: Any) -> None:
    server = start_server()
    page = open_page(server)
    snapshot = server.home / "hf/hub/models--owner--name/snapshots/1"
    page.locator("#model button").first.click()
    name = page.get_by_label("Name, folder, GGUF file or Hub id")
    name.focus()
    expect(page.get_by_role("option", name="Starter")).to_be_visible()
    expect(page.get_by_role("option", name="late")).to_have_count(0)
    snapshot.mkdir(parents=True)
    (snapshot / "late-Q8_0.gguf").write_bytes(bytes(10**6))
    page.reload()
    page.locator("#model button").first.click()
    name.focus()
    expect(page.get_by_role("option", name="late-Q8_0 (Hugging Face, 1 MB, fits)")).to_be_visible()
    page.get_by_role("option", name="late-Q8_0").click()
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.locator("#load")).to_contain_text("owner/name:Q8_0 is loaded.")


@pytest.mark.parametrize("width", [390, 1400])
def test_a_notice_covers_nothing(open_page: OpenPage, server: Any, width: int) -> None:
    page = open_page(server, viewport={"width": width, "height": 800})
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_test_id("toast-text")).to_be_visible()
    page.wait_for_function(
        """() => {
          const box = (where) => document.querySelector(where).getBoundingClientRect();
          const notice = box(".toast-body");
          return notice.bottom <= innerHeight && notice.left >= 0 && notice.right <= innerWidth
            && ["#composer-box", "#live", "#header", "#chat"].every((where) => box(where).bottom <= notice.top)
            && (innerWidth < 861 || (notice.left >= box("#left").right && notice.right <= box("#right").left));
        }"""
    )
    page.get_by_test_id("toast-close").click()
    page.wait_for_function("document.querySelector('#composer').getBoundingClientRect().bottom > innerHeight - 4")
