"""Whether the real llama.cpp is there for a test; where it is required, its absence is a failure."""

import os

import pytest

from engine.forward.llama_cpp import binding


def require_llama_cpp() -> None:
    """Skip the test with the reason why the library cannot be used, or fail it where the library is required."""
    problem = binding.why_not()
    if problem is None:
        return
    if os.environ.get("SLIPSTREAM_REQUIRE_LLAMA_CPP"):
        pytest.fail(problem)
    pytest.skip(problem)
