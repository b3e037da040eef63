"""The parts of the section for servers. No behaviour: `app.page.servers` wires them."""

from dataclasses import dataclass

import gradio as gr

from app.assets import asset_text
from app.page.section import section
from app.page.templates import SAID
from app.texts import filled, tr


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerParts:
    """Address, key and models of a server, and the question whether words may go there."""

    address: gr.Textbox
    key: gr.Textbox
    connect: gr.Button
    forget: gr.Button
    confirm: gr.Button
    model: gr.Dropdown
    said: gr.HTML


def build_servers() -> ServerParts:
    with section(tr("server.title"), "servers"):
        address = gr.Textbox(
            "",
            label=tr("server.address"),
            placeholder="http://127.0.0.1:8080",
            max_length=500,
            elem_id="server-address",
        )
        key = gr.Textbox(
            "",
            label=tr("server.key"),
            type="password",
            max_length=4096,
            elem_id="server-key",
            html_attributes=gr.InputHTMLAttributes(autocomplete="off"),
        )
        with gr.Row(elem_classes="pair"):
            connect = gr.Button(tr("server.connect"), size="sm", variant="primary", elem_id="server-connect")
            forget = gr.Button(tr("server.forget"), size="sm", elem_id="server-forget")
        said = gr.HTML(
            "",
            html_template=filled(SAID),
            js_on_load=asset_text("js/said.js"),
            apply_default_css=False,
            elem_id="server-said",
        )
        confirm = gr.Button(tr("server.confirm"), size="sm", visible=False, elem_id="server-confirm")
        model = gr.Dropdown(
            [], label=tr("server.models"), allow_custom_value=True, visible=False, elem_id="server-model"
        )
    return ServerParts(
        address=address, key=key, connect=connect, forget=forget, confirm=confirm, model=model, said=said
    )
