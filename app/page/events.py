"""How handlers are bound to events, and how an event's own data is read: it comes from outside and is checked."""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr

from app.chat.refused import Refused


def bind(
    listeners: Callable[..., Any] | Sequence[Callable[..., Any]],
    handler: Callable[..., Any],
    *,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    trigger_mode: str = "multiple",
    **options: Any,
) -> Any:
    """Listen without Gradio's progress veil, without a limit (turns take turns elsewhere), outside its API pages.

    Gradio would ignore an event silently while the one before it, of the same control, shows something; here it is
    heard, and refused in a sentence where it must be.
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

    A handler that shows something step by step ends by changing nothing: Gradio sends the last step once more when
    the event ends, and that would be stale where another event has shown something else; without any step it would
    empty all outputs.
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


def event_id(event: gr.EventData, name: str = "id") -> int:
    """A whole number that the page's script sent along; raises `Refused` where there is none."""
    value = _data(event).get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**53) < value < 2**53:
        raise Refused(f"The request names no valid {name}: load the page again.")
    return value


def event_text(event: gr.EventData, name: str) -> str:
    value = _data(event).get(name)
    if not isinstance(value, str):
        raise Refused(f"The request names no valid {name}: load the page again.")
    return value


def _data(event: gr.EventData) -> dict[str, Any]:
    data = getattr(event, "_data", None)
    return data if isinstance(data, dict) else {}
