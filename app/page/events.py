"""How handlers are bound to events, how an event's own data is read and checked, and how a failure is shown.

Whatever a page's clients send, the worst that comes of it is one sentence, never a traceback.
"""

import functools
import html
import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr

from app.page.gradio_internals import event_data
from app.page.tab import Tab
from app.store.errors import StoreError
from app.store.private import FORGOTTEN
from app.texts import tr
from engine.errors import EngineError

log = logging.getLogger(__name__)

SENTENCE_LIMIT = 400  # characters


class Refused(ValueError):
    """What a page asked for cannot be done; `str()` of it is one sentence with the next step."""


def bind(
    listeners: Callable[..., Any] | Sequence[Callable[..., Any]],
    handler: Callable[..., Any],
    *,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    trigger_mode: str = "multiple",
    **options: Any,
) -> Any:
    """Listen without Gradio's progress veil, without a limit (turns wait for each other elsewhere), outside its API.

    Gradio would silently ignore an event while an earlier one of the same control is still being shown. Here it is
    handled, and refused in a sentence where necessary.
    """
    listen = listeners if callable(listeners) else lambda *a, **k: gr.on(list(listeners), *a, **k)
    return listen(
        refusing(handler),
        inputs=list(inputs),
        outputs=list(outputs),
        show_progress="hidden",
        show_progress_on=[],
        concurrency_limit=None,
        trigger_mode=trigger_mode,
        api_visibility="private",
        **options,
    )


def refusing(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The handler, its `ValueError`s (bad arguments, each one sentence) as `Refused`, which the page shows.

    A handler that shows steps ends with one that changes nothing. Gradio sends the last step again when the event
    ends, which would be stale where another event has shown something since; without any step it would empty all
    outputs.
    """
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def stream(*args: Any) -> Iterator[Any]:
            try:
                yield from handler(*args)
                yield gr.skip()
            except ValueError as exc:
                raise Refused(str(exc)) from exc

        return stream

    @functools.wraps(handler)
    def answer(*args: Any) -> Any:
        try:
            return handler(*args)
        except ValueError as exc:
            raise Refused(str(exc)) from exc

    return answer


def on_its_chat(handler: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """The handler, refused where its page shows a private chat that is forgotten; inputs end as `SAYS_PRIVATE` says."""

    @functools.wraps(handler)
    def stream(tab: Tab, *given: Any) -> Iterator[Any]:
        *inputs, shows_private = given
        if tab.is_behind(shows_private):
            raise Refused(FORGOTTEN)
        yield from handler(tab, *inputs)

    return stream


def event_id(event: gr.EventData, name: str = "id") -> int:
    """A whole number that the page's script sent along; raises `Refused` where there is none."""
    value = event_data(event).get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**53) < value < 2**53:
        raise Refused(tr("refused.invalid", name=name))
    return value


def event_text(event: gr.EventData, name: str) -> str:
    value = event_data(event).get(name)
    if not isinstance(value, str):
        raise Refused(tr("refused.invalid", name=name))
    return value


def shown(exc: Exception) -> gr.Error:
    """The failure as the page shows it; the log keeps the rest."""
    if isinstance(exc, EngineError | StoreError | Refused | gr.Error):
        log.info("refused: %s", exc)
        return _sentence(str(exc.message if isinstance(exc, gr.Error) else exc))
    log.warning("an event of the page failed", exc_info=exc)
    return _sentence(tr("refused.misfit"))


def _sentence(text: str) -> gr.Error:
    """A notice on the page; what was quoted from a request may be long, so it is cut."""
    if len(text) > SENTENCE_LIMIT:
        text = f"{text[: SENTENCE_LIMIT // 2]} … {text[-SENTENCE_LIMIT // 2 :]}"
    return gr.Error(html.escape(text, quote=False), title="", duration=12, print_exception=False)
