"""A section of the page's right side: a heading that folds what stands in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

import gradio as gr

from app.page.templates import SECTION


@contextmanager
def section(title: str, elem_id: str) -> Iterator[None]:
    """Lay out what stands under the heading.

    Gradio's Accordion creates its contents when it is unfolded and then sets their earlier values: what is typed
    meanwhile would be lost. Here everything exists from the beginning.
    """
    with gr.Column(elem_id=elem_id, elem_classes="section", min_width=0):
        gr.HTML(
            SECTION.format(title=escape(title)), js_on_load=None, apply_default_css=False, elem_classes="section-head"
        )
        yield
