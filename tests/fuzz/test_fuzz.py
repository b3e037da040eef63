"""A few hundred inputs for each boundary; `python -m tests.fuzz` tries more.

The page's queue is not among them: `tests/app/web/test_server_page.py` sends it nonsense.
"""

import re
from pathlib import Path

import pytest

import app.page
from tests.fuzz import asking
from tests.fuzz.boundaries import BOUNDARIES
from tests.fuzz.boundary import EXAMPLES, Boundary, try_inputs, variants_of

FEW = {"tokenizers": 48, "chat-templates": 96, "worker": 96, "remote": 64, "gguf-headers": 160}  # the slow

READ = (  # how handlers name what they read
    r'event_(?:id|text)\(event, "(\w+)"',
    r'event_data\(event\)\.get\("(\w+)"',
    r'_numbers\(event, "(\w+)"',
    r'"(\w+)" in event_data\(',
)


@pytest.mark.parametrize(
    "boundary", [each for each in BOUNDARIES if each.name != "queue"], ids=lambda boundary: boundary.name
)
def test_whatever_is_put_in_is_taken_or_refused_in_a_sentence(boundary: Boundary) -> None:
    wanted = FEW.get(boundary.name, 320)
    assert wanted // boundary.each // (1 + variants_of(boundary, wanted)) >= EXAMPLES
    assert 0 < try_inputs(boundary, wanted, seed=1) <= 2 * wanted


def test_no_control_may_hold_a_list() -> None:
    with asking.settings() as check:
        for place in range(len(asking.CONTROLS)):
            check(([[] if at == place else True for at in range(len(asking.CONTROLS))], asking.KEPT))


def test_the_queue_is_sent_all_that_handlers_read_of_an_event() -> None:
    page = Path(app.page.__file__).parent
    source = "".join(file.read_text(encoding="utf-8") for file in page.glob("*.py"))
    assert {name for way in READ for name in re.findall(way, source)} <= set(asking.SENT)
