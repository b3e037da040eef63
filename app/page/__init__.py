"""The Gradio page: its parts and handlers. The only room that imports Gradio; it does not know the server."""

from app.page import gradio_stubs

gradio_stubs.leave_out()
