"""States to words and figures for people. Pure: no engine calls, no store, no Gradio."""
