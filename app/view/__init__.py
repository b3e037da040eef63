"""Words and figures for people. Pure functions of values: no engine calls, no store, no clock, no Gradio."""
