"""The Gradio page. The only floor that imports Gradio."""
