"""Gradio's insides: what a step leaves out is left alone, and everything that the page uses is still there."""

import asyncio
import inspect
import re
import sys
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio.block_function import BlockFunction
from gradio.component_meta import ComponentMeta
from gradio.queueing import Queue
from gradio.state_holder import SessionState, StateHolder

from app.assets import ASSETS, asset_text
from app.page.gradio_internals import PAGES_KEPT, Page


def page_of(*parts: gr.components.Component) -> tuple[Page, Any]:
    """A page of these parts, and the event that shows something in them."""
    with Page() as page:
        for part in parts:
            part.render()
        gr.Button().click(lambda: None, [], list(parts))
    (event,) = page.fns.values()
    return page, event


@pytest.mark.parametrize("wanted", [(), (0,), (2,), (2, 0), (0, 1, 2)])
def test_a_step_builds_no_part_anew(wanted: tuple[int, ...]) -> None:
    parts = [gr.HTML(render=False), gr.Slider(render=False), gr.HTML(render=False)]
    page, event = page_of(*parts)
    state = SessionState(page)
    step: dict[Any, Any] = {parts[at]: at for at in wanted} or gr.skip()
    sent = asyncio.run(page.postprocess_data(event, step, state))
    assert sent == [at if at in wanted else gr.skip() for at in range(3)]
    assert all(state[part._id] is part for part in parts)


def test_pages_that_were_left_are_forgotten_and_those_that_are_used_stay() -> None:
    page, _ = page_of(gr.HTML(render=False))
    page.start_queue()
    sessions = StateHolder()
    sessions.set_blocks(page)
    first = sessions["used"]
    for number in range(2 * PAGES_KEPT):
        sessions[f"{number}"]
        assert sessions["used"] is first
    assert len(sessions.session_data) <= PAGES_KEPT


def test_what_a_step_says_of_a_part_beside_its_value_is_sent() -> None:
    shown, other = gr.Textbox(render=False), gr.Textbox(render=False)
    page, event = page_of(shown, other)
    sent = asyncio.run(page.postprocess_data(event, {other: gr.update(visible=False)}, SessionState(page)))
    assert sent == [gr.skip(), {"__type__": "update", "visible": False}]


FRONTEND = Path(gr.__file__).parent / "templates" / "frontend" / "assets"


def test_no_type_stubs_are_written_where_gradio_is_imported() -> None:
    found = (finder.find_spec("gradio.component_meta", gr.__path__) for finder in sys.meta_path)
    spec = next(spec for spec in found if spec is not None)
    assert spec.loader is not None
    spec.loader.exec_module(module := module_from_spec(spec))
    module.create_or_modify_pyi(Page, "a class that its file does not have", [])


def in_frontend(text: str, files: str = "*.js") -> bool:
    return any(text in file.read_text(encoding="utf-8") for file in FRONTEND.glob(files))


def takes(method: Any, *names: str) -> bool:
    return list(inspect.signature(method).parameters)[: len(names)] == list(names)


INTERNALS = {
    "Blocks.handle_streaming_diffs no longer takes the event and its data": lambda: takes(
        gr.Blocks.handle_streaming_diffs, "self", "block_fn", "data"
    ),
    "Blocks.postprocess_data no longer takes the event, what a handler returned and the session": lambda: takes(
        gr.Blocks.postprocess_data, "self", "block_fn", "predictions", "state"
    ),
    "Blocks.process_api no longer runs one event": lambda: inspect.iscoroutinefunction(gr.Blocks.process_api),
    "An event's outputs no longer stand in `BlockFunction.outputs`": lambda: (
        "outputs" in inspect.signature(BlockFunction).parameters
    ),
    "Queue.sleep_when_free no longer says how often an idle queue polls": lambda: (
        "self.sleep_when_free" in inspect.getsource(Queue.start_processing)
    ),
    "Queue.progress_update_sleep_when_free is gone": lambda: (
        "progress_update_sleep_when_free" in inspect.getsource(Queue)
    ),
    "component_meta.create_or_modify_pyi is gone": lambda: (
        "create_or_modify_pyi(component_class" in inspect.getsource(ComponentMeta)
    ),
    "EventData._data no longer holds what a script sent": lambda: gr.EventData(None, {"id": 1})._data == {"id": 1},
    "The skipped update is no longer a plain dict": lambda: gr.skip() == {"__type__": "update"},
    "The document no longer ends its head with </head>": lambda: (
        "</head>" in (FRONTEND.parent / "index.html").read_text(encoding="utf-8")
    ),
    "The counters of seconds no longer come from a script named statustracker-*.js": lambda: in_frontend(
        "requestAnimationFrame", "statustracker-*.js"
    ),
    "The client no longer asks at /queue/join": lambda: in_frontend("queue/join"),
    "The client no longer reads its answers from /queue/data": lambda: in_frontend("queue/data"),
    "The client no longer says at /heartbeat that its page is open": lambda: in_frontend("heartbeat"),
    "An answer no longer ends in a message process_completed": lambda: in_frontend("process_completed"),
    "Notices no longer stand in toast-wrap": lambda: in_frontend("toast-wrap"),
    "A notice has no longer the parts toast-header, toast-title-row, toast-icon and toast-messages": lambda: all(
        in_frontend(part) for part in ("toast-header", "toast-title-row", "toast-icon", "toast-messages")
    ),
    "The chat no longer scrolls in what has the role log": lambda: in_frontend('role="log"', "Index-*.js"),
    "A drop-down's field no longer has the role combobox": lambda: in_frontend('role="combobox"', "Index-*.js"),
    "A message's row no longer has the class message-row": lambda: in_frontend("message-row"),
    "A message's column no longer has the class flex-wrap": lambda: in_frontend("flex-wrap", "Index-*.js"),
}


@pytest.mark.parametrize("gone", INTERNALS)
def test_gradio_still_has_what_the_page_uses_of_its_insides(gone: str) -> None:
    assert INTERNALS[gone](), gone


def classes_of(css: str) -> set[str]:
    selectors = re.findall(r"([^{}]+)\{", re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL))
    return set(re.findall(r"\.([a-zA-Z_][\w-]*)", " ".join(selectors)))


def words_of(*files: Path) -> set[str]:
    return {word for file in files for word in re.findall(r"[\w-]+", file.read_text(encoding="utf-8"))}


def test_every_class_that_is_styled_is_the_pages_or_gradios() -> None:
    ours = words_of(*Path(ASSETS.parent / "app" / "page").glob("*.py"), *(ASSETS / "js").glob("*.js"))
    gradios = words_of(*FRONTEND.glob("*.css"), *FRONTEND.glob("*.js"))
    styled = classes_of(asset_text("css/page.css") + asset_text("css/frame.css"))
    assert styled - ours - gradios == set()
