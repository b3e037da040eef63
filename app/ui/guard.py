"""One gate for everything the page's clients send: whatever goes wrong there becomes one sentence, never a traceback.

It stands around all of Gradio's handling of an event, because the arguments of a raw queue call fail before any
handler is reached.
"""

import logging
from typing import Any

import gradio as gr

from app.database import StoreError
from app.ui.refused import Refused
from engine.errors import EngineError

log = logging.getLogger(__name__)

MISFIT = "That request does not fit this page: load the page again and repeat it."


class Page(gr.Blocks):
    """Blocks whose events answer with a sentence when they fail."""

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
    if isinstance(exc, EngineError | StoreError | Refused):
        log.info("refused: %s", exc)
        return gr.Error(str(exc), title="", duration=12, print_exception=False)
    if isinstance(exc, gr.Error):
        log.info("refused by the page: %s", exc)
        return gr.Error(str(exc.message), title="", duration=12, print_exception=False)
    log.warning("an event of the page failed", exc_info=exc)
    return gr.Error(MISFIT, title="", duration=12, print_exception=False)
