"""The page's parts, as handlers receive them: `app.page.layout` lays them out, `app.page.page` wires them."""

from dataclasses import dataclass

import gradio as gr

from app.page.programs import Programs
from app.page.server_parts import ServerParts


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The controls of one conversation's settings, in the order in which handlers take their values."""

    drafting: gr.Checkbox
    temperature: gr.Slider
    top_k: gr.Number
    top_p: gr.Slider
    min_p: gr.Slider
    repetition_penalty: gr.Slider
    seed: gr.Textbox
    max_tokens: gr.Number
    system: gr.Textbox
    exactness: gr.Radio
    thinking: gr.Radio
    memory: gr.Checkbox
    drafter: gr.Dropdown

    def all(self) -> list[gr.components.Component]:
        return [getattr(self, name) for name in self.__dataclass_fields__]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPicker:
    name: gr.Dropdown
    quant: gr.Dropdown
    dtype: gr.Dropdown
    context: gr.Textbox
    context_said: gr.HTML
    load: gr.Button
    unload: gr.Button
    progress: gr.HTML
    llama_cpp: gr.HTML
    trainer: gr.HTML


@dataclass(frozen=True, slots=True, kw_only=True)
class GetModel:
    """The catalogue and its download. `best` is clicked by the button of the empty chat."""

    name: gr.Dropdown
    facts: gr.Markdown
    download: gr.Button
    pause: gr.Button
    resume: gr.Button
    load: gr.Button
    cancel: gr.Button
    best: gr.Button
    card: gr.HTML
    tick: gr.Timer


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetPicker:
    """Named presets, and what new chats begin with."""

    keep: gr.Button
    reset: gr.Button
    name: gr.Dropdown
    use: gr.Button
    save: gr.Button
    delete: gr.Button
    said: gr.HTML
    titles: gr.Radio


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything a handler reads or writes."""

    tab: gr.State
    address: gr.Textbox  # what stands behind # in the address bar
    poll: gr.HTML  # fires when something has changed elsewhere
    new_chat: gr.Button
    private_chat: gr.Button
    search: gr.Textbox
    conversations: gr.HTML
    files: gr.HTML
    header: gr.HTML
    chat: gr.Chatbot
    notes: gr.HTML
    lanes: gr.HTML
    live: gr.HTML
    attachments: gr.HTML
    box: gr.Textbox
    send: gr.Button
    stop: gr.Button
    compare: gr.Button
    settings: Settings
    presets: PresetPicker
    picker: ModelPicker
    get: GetModel
    programs: Programs
    servers: ServerParts

    def drawn(self) -> list[gr.components.Component]:
        """What is drawn from the state of things: everything but what a person sets."""
        shown = [self.chat, self.notes, self.live, self.conversations, self.header, self.lanes, self.attachments]
        return [*shown, self.picker.progress, self.picker.llama_cpp, self.picker.trainer, self.get.card, self.get.tick]
