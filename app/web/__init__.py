"""The HTTP server: who is served, health, files, signals. Knows no page and imports no Gradio."""
