"""The page's layout: every part in its place. No behaviour.

Own drawings (header, speed line, list, notes, lanes) are static templates; a script in `assets/js` fills them from
the value with `textContent`, because Gradio's templates would evaluate `${...}` inside a model's text.
"""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from app.assets import asset_text
from app.page.parts import GetModel, ModelPicker, Parts, PresetPicker, Settings
from app.page.programs import build_programs
from app.page.section import section
from app.page.server_parts import build_servers
from app.page.tab import Tab
from app.page.templates import (
    ATTACH,
    ATTACHMENTS,
    COMPARE,
    CONVERSATIONS,
    FILES,
    GET,
    HEADER,
    LIVE,
    LOAD,
    METERS,
    OFFER_LINE,
    SAID,
)
from app.page.welcome import welcome
from app.texts import filled, tr
from app.view.figures import drafter_words
from app.view.markdown import DISPLAY, INLINE
from engine.config import Sampling

LATEX = [
    {"left": INLINE[0], "right": INLINE[1], "display": False},
    {"left": DISPLAY[0], "right": DISPLAY[1], "display": True},
]


def drawing(name: str, template: str, value: Any = None, **options: Any) -> gr.HTML:
    """A part drawn by `assets/js/<name>.js` into a static template."""
    return gr.HTML(
        value,
        html_template=filled(template),
        js_on_load=asset_text(f"js/{name}.js"),
        apply_default_css=False,
        **options,
    )


def build_parts(
    model_choices: list[tuple[str, str]],
    catalogue: tuple[list[tuple[str, str]], str, str] = ([], "", ""),
    *,
    presets: Sequence[str] = (),
    compares: bool = True,
    slow_nf4: bool = False,
) -> Parts:
    """Lay the page out inside the Blocks that is open; without `compares` nothing offers a comparison.

    `catalogue`: what can be downloaded, what is chosen of it, and what is said of that.
    """
    tab = gr.State(Tab())
    address = gr.Textbox("", visible=False)
    with gr.Row(elem_id="shell"):
        with gr.Column(elem_id="left", min_width=0):
            new_chat, private_chat, search, conversations, files = _left()
        with gr.Column(elem_id="middle", min_width=0):
            header = drawing("header", HEADER, elem_id="header")
            poll = drawing("poll", "<span hidden></span>", elem_id="poll")
            chat = _chat()
            notes = drawing("notes", "<span hidden></span>", [], elem_id="notes")
            lanes = drawing("compare", COMPARE, elem_id="lanes")
            live = drawing("live", LIVE, elem_id="live")
            attachments, box, drafting, compare, stop, send = _composer(compares)
        with gr.Column(elem_id="right", min_width=0):
            gr.HTML(filled(METERS), js_on_load=None, apply_default_css=False, elem_id="meters")
            picker = _model_picker(model_choices, slow_nf4)
            servers = build_servers()
            get = _get_model(*catalogue)
            settings = _settings(drafting)
            preset_picker = _presets(presets)
            programs = build_programs()
    return Parts(
        tab=tab,
        address=address,
        poll=poll,
        new_chat=new_chat,
        private_chat=private_chat,
        search=search,
        conversations=conversations,
        files=files,
        header=header,
        chat=chat,
        notes=notes,
        lanes=lanes,
        live=live,
        attachments=attachments,
        box=box,
        send=send,
        stop=stop,
        compare=compare,
        settings=settings,
        presets=preset_picker,
        picker=picker,
        get=get,
        programs=programs,
        servers=servers,
    )


def _left() -> tuple[gr.Button, gr.Button, gr.Textbox, gr.HTML, gr.HTML]:
    gr.HTML(
        '<div class="brand"><img src="/favicon.svg" alt=""><span>Slipstream</span></div>',
        js_on_load=None,
        apply_default_css=False,
        elem_id="brand",
    )
    with gr.Row(elem_id="begin"):
        new_chat = gr.Button(tr("common.new_chat"), elem_id="new-chat")
        private_chat = gr.Button(tr("list.private_chat"), elem_id="private-chat")
    search = gr.Textbox(
        show_label=False,
        label=tr("list.search"),
        placeholder=tr("list.search_hint"),
        elem_id="search",
        max_lines=1,
        max_length=200,
        container=False,
    )
    conversations = drawing("conversations", CONVERSATIONS, elem_id="conversations")
    files = drawing("files", FILES, elem_id="files")
    return new_chat, private_chat, search, conversations, files


def _chat() -> gr.Chatbot:
    return gr.Chatbot(
        [],
        label=tr("box.conversation"),
        show_label=False,
        elem_id="chat",
        layout="panel",
        container=False,
        height=None,
        buttons=[],
        sanitize_html=True,
        latex_delimiters=LATEX,
        group_consecutive_messages=False,
        allow_file_downloads=False,
        placeholder=welcome(),
    )


def _composer(compares: bool) -> tuple[gr.HTML, gr.Textbox, gr.Checkbox, gr.Button, gr.Button, gr.Button]:
    with gr.Column(elem_id="composer", min_width=0), gr.Column(elem_id="composer-box", min_width=0):
        attachments = drawing("attachments", ATTACHMENTS, elem_id="attachments")
        box = gr.Textbox(
            show_label=False,
            label=tr("box.message"),
            placeholder=tr("box.hint"),
            lines=1,
            max_lines=12,
            elem_id="box",
            container=False,
        )
        with gr.Row(elem_id="actions"):
            gr.HTML(filled(ATTACH), js_on_load=None, apply_default_css=False, elem_id="attach")
            drafting = gr.Checkbox(
                True, label=tr("box.drafting"), elem_id="drafting", elem_classes="switch", container=False
            )
            gr.HTML("", elem_id="actions-gap", js_on_load=None)
            compare = gr.Button(tr("box.compare"), elem_id="compare", size="sm", visible=compares)
            stop = gr.Button(tr("live.stop"), elem_id="stop", size="sm")
            send = gr.Button(tr("box.send"), elem_id="send", size="sm", variant="primary")
    return attachments, box, drafting, compare, stop, send


def _model_picker(choices: list[tuple[str, str]], slow_nf4: bool) -> ModelPicker:
    quants = [
        ("auto", "auto"),
        ("none", "none"),
        ("int8", "int8"),
        (tr("model.slow_nf4") if slow_nf4 else "nf4", "nf4"),
    ]
    with section(tr("model.title"), "model"):
        name = gr.Dropdown(
            choices,
            value=choices[0][1] if choices else None,
            label=tr("model.name"),
            allow_custom_value=True,
            elem_id="model-name",
        )
        with gr.Row(elem_classes="pair"):
            quant = gr.Dropdown(quants, value="auto", label=tr("model.quant"), elem_id="model-quant")
            dtype = gr.Dropdown(
                ["auto", "float32", "bfloat16", "float16"], value="auto", label=tr("model.dtype"), elem_id="model-dtype"
            )
        context = gr.Textbox(
            "",
            label=tr("model.longest_context"),
            placeholder=tr("model.longest_context_hint"),
            max_length=12,
            elem_id="model-context",
        )
        context_said = drawing("said", SAID, "", elem_id="model-context-said")
        with gr.Row(elem_classes="pair"):
            load = gr.Button(tr("model.load"), elem_id="model-load", size="sm", variant="primary")
            unload = gr.Button(tr("model.unload"), elem_id="model-unload", size="sm")
        progress = drawing("load", LOAD, elem_id="load")
        llama_cpp = drawing("offer-line", OFFER_LINE, elem_id="llama-cpp", elem_classes="offer-line")
        trainer = drawing("offer-line", OFFER_LINE, elem_id="trainer", elem_classes="offer-line")
    return ModelPicker(
        name=name,
        quant=quant,
        dtype=dtype,
        context=context,
        context_said=context_said,
        load=load,
        unload=unload,
        progress=progress,
        llama_cpp=llama_cpp,
        trainer=trainer,
    )


def _get_model(choices: list[tuple[str, str]], first: str, facts: str) -> GetModel:
    with section(tr("get.title"), "get"):
        name = gr.Dropdown(choices, value=first or None, label=tr("get.name"), elem_id="get-name")
        said = gr.Markdown(facts, elem_id="get-facts")
        with gr.Row(elem_classes="pair"):
            download = gr.Button(tr("get.download"), elem_id="get-download", size="sm", variant="primary")
        card = drawing("get", GET, elem_id="get-card")
        with gr.Row(elem_classes="pair"):
            pause = gr.Button(tr("get.pause"), elem_id="get-pause", size="sm")
            resume = gr.Button(tr("get.resume"), elem_id="get-resume", size="sm", variant="primary")
            load = gr.Button(tr("model.load"), elem_id="get-load", size="sm", variant="primary")
            cancel = gr.Button(tr("get.cancel"), elem_id="get-cancel", size="sm")
        best = gr.Button(tr("get.best"), elem_id="get-best")
        tick = gr.Timer(1, active=False)
    return GetModel(
        name=name,
        facts=said,
        download=download,
        pause=pause,
        resume=resume,
        load=load,
        cancel=cancel,
        best=best,
        card=card,
        tick=tick,
    )


def _presets(names: Sequence[str]) -> PresetPicker:
    with section(tr("presets.title"), "presets"):
        gr.HTML(filled("<p>[[presets.scope]]</p>"), js_on_load=None, apply_default_css=False, elem_id="scope")
        with gr.Row(elem_classes="pair"):
            keep = gr.Button(tr("presets.keep"), elem_id="defaults-keep", size="sm")
            reset = gr.Button(tr("presets.reset"), elem_id="defaults-reset", size="sm")
        name = gr.Dropdown(
            list(names),
            value=None,
            label=tr("presets.name"),
            info=tr("presets.name_info"),
            allow_custom_value=True,
            elem_id="preset-name",
        )
        with gr.Row(elem_classes="pair"):
            use = gr.Button(tr("presets.use"), elem_id="preset-use", size="sm", variant="primary")
            save = gr.Button(tr("presets.save"), elem_id="preset-save", size="sm")
            delete = gr.Button(tr("list.delete"), elem_id="preset-delete", size="sm")
        said = drawing("said", SAID, "", elem_id="preset-said")
        titles = gr.Radio(
            [
                (tr("presets.titles_auto"), "auto"),
                (tr("presets.titles_always"), "always"),
                (tr("presets.titles_never"), "never"),
            ],
            value="auto",
            label=tr("presets.titles"),
            info=tr("presets.titles_info"),
            elem_id="titles",
        )
    return PresetPicker(keep=keep, reset=reset, name=name, use=use, save=save, delete=delete, said=said, titles=titles)


def _settings(drafting: gr.Checkbox) -> Settings:
    off = Sampling()
    with section(tr("sampling.title"), "sampling"):
        temperature = gr.Slider(
            0, 2, 0, step=0.05, label=tr("sampling.temperature"), info=tr("sampling.temperature_info")
        )
        top_p = gr.Slider(0.05, 1, off.top_p, step=0.01, label=tr("sampling.top_p"), info=tr("sampling.top_p_info"))
        min_p = gr.Slider(0, 1, off.min_p, step=0.01, label=tr("sampling.min_p"), info=tr("sampling.min_p_info"))
        repetition_penalty = gr.Slider(
            0.5, 2, 1, step=0.01, label=tr("sampling.repetition_penalty"), info=tr("sampling.repetition_penalty_info")
        )
        with gr.Row(elem_classes="pair"):
            top_k = gr.Number(
                off.top_k, precision=0, minimum=0, label=tr("sampling.top_k"), info=tr("sampling.top_k_info")
            )
            seed = gr.Textbox(
                "",
                label=tr("sampling.seed"),
                info=tr("sampling.seed_info"),
                placeholder=tr("sampling.seed_hint"),
                max_length=20,
            )
    with section(tr("answer.title"), "answer"):
        system = gr.Textbox("", label=tr("answer.system"), lines=3, max_lines=10, elem_id="system")
        max_tokens = gr.Number(
            1024,
            precision=0,
            minimum=1,
            label=tr("answer.max_tokens"),
            info=tr("answer.max_tokens_info"),
            elem_id="max-tokens",
        )
        exactness = gr.Radio(
            [(tr("answer.exact"), "exact"), (tr("answer.fast"), "fast")],
            value="exact",
            label=tr("answer.exactness"),
            info=tr("answer.exactness_info"),
            elem_id="exactness",
        )
        thinking = gr.Radio(
            [(tr("answer.thinking_default"), "default"), (tr("answer.on"), "on"), (tr("answer.off"), "off")],
            value="default",
            label=tr("answer.thinking"),
            info=tr("answer.thinking_info"),
            elem_id="thinking",
        )
        memory = gr.Checkbox(
            True,
            label=tr("answer.memory"),
            info=tr("answer.memory_info"),
            elem_id="memory",
        )
        drafter = gr.Dropdown(
            [(name, key) for key, name in drafter_words().items()],
            value="adaptive",
            label=tr("answer.drafter"),
            info=tr("answer.drafter_info"),
            elem_id="drafter",
        )
    return Settings(
        drafting=drafting,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
        max_tokens=max_tokens,
        system=system,
        exactness=exactness,
        thinking=thinking,
        memory=memory,
        drafter=drafter,
    )
