"""A few hundred inputs for each boundary; `python -m tests.fuzz` tries more.

The page's queue is not among them: `tests/app/web/test_server_page.py` sends it nonsense.
"""

import pytest

from tests.fuzz.boundaries import BOUNDARIES
from tests.fuzz.boundary import Boundary, try_inputs

FEW = {"tokenizers": 20, "chat-templates": 15, "worker": 60, "remote": 40, "gguf-headers": 60}  # the slow


@pytest.mark.parametrize(
    "boundary", [each for each in BOUNDARIES if each.name != "queue"], ids=lambda boundary: boundary.name
)
def test_whatever_is_put_in_is_taken_or_refused_in_a_sentence(boundary: Boundary) -> None:
    wanted = FEW.get(boundary.name, 250)
    assert 0 < try_inputs(boundary, wanted, seed=1) <= 2 * wanted
