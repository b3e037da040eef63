"""The engine behind a pipe: the same face in a child process. Only `worker`, the child, may import torch."""
