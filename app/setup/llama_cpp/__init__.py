"""The binding to llama.cpp, an extra: which one, how it is built and installed; the standard library only."""
