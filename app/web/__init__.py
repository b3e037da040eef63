"""The HTTP server: health, guards, files, pace. Imports no Gradio."""
