"""What GGUF files say, and what llama.cpp's names and layouts are in transformers'. No torch, no network."""
