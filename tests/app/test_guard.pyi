"""How steps are sent to the page: what a step leaves out is left alone."""

import asyncio
from typing import Any

import gradio as gr
import pytest
from gradio.state_holder import SessionState

from app.ui.guard import Page

from gradio.events import Dependency

class Part(gr.HTML):  # type: ignore[misc]
    """Counts how often one is built."""

    built = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        type(self).built += 1
        super().__init__(*args, **kwargs)
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component


@pytest.mark.parametrize("wanted", [(), (0,), (2,), (2, 0), (0, 1, 2)])
def test_a_step_builds_no_part_anew(wanted: tuple[int, ...]) -> None:
    with Page() as page:
        parts = [Part(), Part(), Part()]
        gr.Button().click(lambda: None, [], parts)
    (event,) = page.fns.values()
    state = SessionState(page)
    Part.built = 0
    step: dict[Any, Any] = {parts[at]: f"text {at}" for at in wanted} or gr.skip()
    sent = asyncio.run(page.postprocess_data(event, step, state))
    assert sent == [f"text {at}" if at in wanted else gr.skip() for at in range(3)]
    assert Part.built == 0


def test_what_a_step_sets_apart_from_values_still_holds() -> None:
    with Page() as page:
        shown, other = gr.Textbox(), gr.Textbox()
        gr.Button().click(lambda: None, [], [shown, other])
    (event,) = page.fns.values()
    sent = asyncio.run(page.postprocess_data(event, {other: gr.update(visible=False)}, SessionState(page)))
    assert sent == [gr.skip(), {"__type__": "update", "visible": False}]