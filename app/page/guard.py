"""One gate for everything the page's clients send: whatever goes wrong there becomes one sentence, never a traceback.

It stands around all of Gradio's handling of an event, because the arguments of a raw queue call fail before any
handler is reached.
"""

import copy
import logging
from typing import Any

import gradio as gr
from gradio.blocks import Block

from app.chat.refused import Refused
from app.store.errors import StoreError
from engine.errors import EngineError

log = logging.getLogger(__name__)

SENTENCE_LIMIT = 400  # characters
MISFIT = "That request does not fit this page: load the page again and repeat it."


class Page(gr.Blocks):  # type: ignore[misc]
    """Blocks whose events answer with a sentence when they fail, and whose steps a page cannot miss."""

    def handle_streaming_diffs(self, block_fn: Any, data: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """The step as what differs from the one before it; a dict that differs goes whole.

        Gradio's client makes the differences in the very dict that the step before it brought. Where both arrive
        before that one is drawn, as they do when the answer to a click overtakes the click's own receipt, a key that
        the second step takes away is never seen: the page would stay as it was.
        """
        values = list(data)
        sent: list[Any] = super().handle_streaming_diffs(block_fn, data, *args, **kwargs)
        for at, (value, differences) in enumerate(zip(values, sent, strict=True)):
            if isinstance(value, dict) and isinstance(differences, list) and differences:
                sent[at] = [["replace", [], value]]
        return sent

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        """What a handler returned, as it is sent.

        Gradio would build each part that a step leaves as it is anew, with all its settings, to find that nothing
        about it has changed: half of what the server does while an answer runs.
        """
        if predictions == gr.skip():
            predictions = {}
        if not isinstance(predictions, dict) or not all(isinstance(part, Block) for part in predictions):
            return await super().postprocess_data(block_fn, predictions, state)  # type: ignore[no-any-return]
        few = copy.copy(block_fn)
        few.outputs = [part for part in block_fn.outputs if part in predictions]
        values = [predictions[part] for part in few.outputs]
        told = await super().postprocess_data(few, values[0] if len(values) == 1 else values, state)
        by_part = dict(zip(few.outputs, told, strict=True))
        return [by_part.get(part, gr.skip()) for part in block_fn.outputs]

    async def process_api(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run one event; every failure becomes a `gr.Error` that a person can read."""
        try:
            return await super().process_api(*args, **kwargs)  # type: ignore[no-any-return]
        except (StopAsyncIteration, StopIteration):
            raise
        except Exception as exc:
            raise shown(exc) from exc


def shown(exc: Exception) -> gr.Error:
    """The failure as the page shows it; the log keeps the rest."""
    if isinstance(exc, EngineError | StoreError | Refused | gr.Error):
        log.info("refused: %s", exc)
        return _sentence(str(exc.message if isinstance(exc, gr.Error) else exc))
    log.warning("an event of the page failed", exc_info=exc)
    return _sentence(MISFIT)


def _sentence(text: str) -> gr.Error:
    """A notice on the page; what was quoted from a request may be long, so it is cut."""
    if len(text) > SENTENCE_LIMIT:
        text = f"{text[: SENTENCE_LIMIT // 2]} … {text[-SENTENCE_LIMIT // 2 :]}"
    return gr.Error(text, title="", duration=12, print_exception=False)
