"""The Gradio page: parts and handlers. The only room that imports Gradio; `pace` alone can be had without it."""
