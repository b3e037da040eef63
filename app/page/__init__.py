"""The Gradio page: its parts and handlers. The only room that imports Gradio; it does not know the server."""
