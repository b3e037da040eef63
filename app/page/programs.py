"""The section for other programs: the API's switch, its address, and its key, which is shown once."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.chat.services import Services
from app.page.events import Refused, bind
from app.page.section import section
from app.texts import tr
from app.view.programs import programs_sentence

Shown = dict[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """The switch of the API, and its key, which is shown when it is made."""

    on: gr.Checkbox
    said: gr.Markdown
    key: gr.Textbox
    renew: gr.Button


def build_programs() -> Programs:
    with section(tr("programs.title"), "programs"):
        on = gr.Checkbox(False, label=tr("programs.on"), elem_id="programs-on")
        said = gr.Markdown("", elem_id="programs-said")
        key = gr.Textbox("", label=tr("programs.key"), interactive=False, visible=False, elem_id="programs-key")
        with gr.Row(elem_classes="pair"):
            renew = gr.Button(tr("programs.new_key"), size="sm", elem_id="programs-renew")
    return Programs(on=on, said=said, key=key, renew=renew)


class ProgramHandlers:
    def __init__(self, services: Services, parts: Programs) -> None:
        self._access = services.access
        self._parts = parts

    def wire(self, page: gr.Blocks) -> None:
        parts = self._parts
        shown = [parts.on, parts.said, parts.key, parts.renew]
        bind(page.load, self.look, inputs=[], outputs=shown)
        bind(parts.on.input, self.switch, inputs=[parts.on], outputs=shown)
        bind(parts.renew.click, self.renew, inputs=[], outputs=shown)

    def look(self, request: gr.Request) -> Shown:
        """How it stands, for a page that is opened; a key that was shown is gone."""
        return self._shown(request)

    def switch(self, on: Any, request: gr.Request) -> Shown:
        """Switch the API on or off for this and later starts; a first key is made with it."""
        if not isinstance(on, bool):
            raise Refused(tr("programs.on_or_off"))
        if not on and self._access.forced:
            raise Refused(tr("programs.forced"))
        self._access.switch(on)
        return self._shown(request, self._access.new_key() if on and not self._access.key_end else "")

    def renew(self, request: gr.Request) -> Shown:
        """Make another key; the one before is void at once."""
        if not self._access.switched_on:
            raise Refused(tr("programs.is_off"))
        return self._shown(request, self._access.new_key())

    def _shown(self, request: gr.Request, key: str = "") -> Shown:
        on = self._access.switched_on
        sentence = programs_sentence(on, request.headers.get("host", ""), self._access.key_end)
        return {
            self._parts.on: on,
            self._parts.said: sentence,
            self._parts.key: gr.update(value=key, visible=bool(key)),
            self._parts.renew: gr.update(visible=on),
        }
