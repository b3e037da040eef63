"""The forward pass on a CUDA device: a round in Triton kernels, recorded as a CUDA graph."""
