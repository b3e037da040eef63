"""The real library for the tests of this folder."""

import pytest

from tests.llama_cpp import require_llama_cpp


@pytest.fixture
def llama_cpp() -> None:
    require_llama_cpp()
