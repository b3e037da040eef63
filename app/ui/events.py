"""How handlers are bound to events, and how an event's own data is read: it comes from outside and is checked."""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from app.ui.refused import Refused


def bind(
    listeners: Callable[..., Any] | Sequence[Callable[..., Any]],
    handler: Callable[..., Any],
    *,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    **options: Any,
) -> Any:
    """Listen without Gradio's progress veil, without a limit (turns take turns elsewhere), outside its API pages."""
    listen = listeners if callable(listeners) else lambda *a, **k: gr.on(list(listeners), *a, **k)
    return listen(
        handler,
        inputs=list(inputs),
        outputs=list(outputs),
        show_progress="hidden",
        concurrency_limit=None,
        api_visibility="private",
        **options,
    )


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
