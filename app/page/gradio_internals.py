"""Everything of Gradio's insides that the page uses. `assets/js/gradio.js` is the same for the browser's side.

Gradio promises none of these names, so its minor version is pinned. `tests/app/page/test_gradio_internals.py` says
which one is gone.
"""

import copy
from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.blocks import Block

EVENT_LATENCY_S = 0.05  # how long an event may wait in Gradio's queue
PAGES_KEPT = 64  # pages that are open or were, some 4 MB each; every open one asks whenever an answer begins or ends


class Page(gr.Blocks):  # type: ignore[misc]
    """Blocks that pass every failure of an event through `translate`, and whose steps a page cannot miss.

    The arguments of a raw queue call fail before any handler is reached; so the translation stands around all of
    Gradio's handling of an event.
    """

    def __init__(self, translate: Callable[[Exception], Exception] = lambda exc: exc, **options: Any) -> None:
        super().__init__(**options)
        self._translate = translate

    def handle_streaming_diffs(self, block_fn: Any, data: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """A step as its differences from the one before it; a dict that differs is sent whole.

        Gradio's client applies the differences to the very dict that the step before brought. Where both arrive before
        that one is drawn, as when the answer to a click overtakes the click's own receipt, a key that the second step
        removes would stay on the page.
        """
        values = list(data)
        sent: list[Any] = super().handle_streaming_diffs(block_fn, data, *args, **kwargs)
        for at, (value, differences) in enumerate(zip(values, sent, strict=True)):
            if isinstance(value, dict) and isinstance(differences, list) and differences:
                sent[at] = [["replace", [], value]]
        return sent

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        """What a handler returned, as it is sent.

        Gradio would also rebuild each part that a step does not change, with all its settings, to find that it has not
        changed: half of the server's work while an answer runs.
        """
        if predictions == gr.skip():
            predictions = {}
        if not isinstance(predictions, dict) or not all(isinstance(part, Block) for part in predictions):
            return await super().postprocess_data(block_fn, predictions, state)  # type: ignore[no-any-return]
        few = copy.copy(block_fn)
        few.outputs = [part for part in block_fn.outputs if part in predictions]
        values = [predictions[part] for part in few.outputs]
        sent = await super().postprocess_data(few, values[0] if len(values) == 1 else values, state)
        by_part = dict(zip(few.outputs, sent, strict=True))
        return [by_part.get(part, gr.skip()) for part in block_fn.outputs]

    async def process_api(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run one event."""
        try:
            return await super().process_api(*args, **kwargs)  # type: ignore[no-any-return]
        except (StopAsyncIteration, StopIteration):
            raise
        except Exception as exc:
            raise self._translate(exc) from exc

    def start_queue(self) -> None:
        """Open the queue, for this page's own events alone and without a limit."""
        self.state_session_capacity = PAGES_KEPT  # Gradio keeps 10,000 until the process ends; the last used stay
        self.queue(default_concurrency_limit=None, api_open=False)
        self._queue.sleep_when_free = EVENT_LATENCY_S  # else it polls every millisecond: 3 % of a core, at rest too
        self._queue.progress_update_sleep_when_free = 1.0  # of `gr.Progress`, which this page does not use


def event_data(event: gr.EventData) -> dict[str, Any]:
    """What the page's script sent with an event; empty where that is no object."""
    data = getattr(event, "_data", None)
    return data if isinstance(data, dict) else {}
