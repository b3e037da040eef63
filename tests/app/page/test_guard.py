"""How steps are sent to the page: what a step leaves out is left alone."""

import asyncio
from typing import Any

import gradio as gr
import pytest
from gradio.state_holder import SessionState

from app.page.guard import Page


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


def test_what_a_step_says_of_a_part_beside_its_value_is_sent() -> None:
    shown, other = gr.Textbox(render=False), gr.Textbox(render=False)
    page, event = page_of(shown, other)
    sent = asyncio.run(page.postprocess_data(event, {other: gr.update(visible=False)}, SessionState(page)))
    assert sent == [gr.skip(), {"__type__": "update", "visible": False}]
