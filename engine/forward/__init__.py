"""The forward pass over a KV cache, on processors and CUDA devices. Knows no drafts, no sampling and no text."""
