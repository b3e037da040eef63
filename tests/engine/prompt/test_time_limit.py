"""A chat template that loops for ever is given up, and the thread it ran in goes on."""

import threading

import pytest

from engine.errors import UnsupportedModel
from engine.prompt import template
from engine.prompt.time_limit import TookTooLong, time_limit
from tests.models import CHATML, byte_tokenizer

ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
TURNS = [{"role": "user", "content": "Hi"}]


def test_an_endless_template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "MAX_SECONDS", 0.2)
    with pytest.raises(UnsupportedModel, match=r"did not end within 0\.2 seconds.*Use another version"):
        template.render(byte_tokenizer(template=ENDLESS), TURNS)


def test_an_endless_template_has_no_end_of_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "MAX_SECONDS", 0.2)
    assert template.end_of_turn_ids(byte_tokenizer(template=ENDLESS)) == frozenset()


def test_what_ends_in_time_is_left_alone() -> None:
    assert "Hi" in template.render(byte_tokenizer(template=CHATML), TURNS)
    for _ in range(1000):  # a limit that is just reached does not strike later
        try:
            with time_limit(0.0):
                pass
        except TookTooLong:
            pass
    assert sum(range(100_000)) == 4_999_950_000


def test_another_thread_is_not_meant() -> None:
    ended: list[bool] = []

    def endless() -> None:
        try:
            with time_limit(0.1):
                while True:
                    pass
        except TookTooLong:
            ended.append(True)

    thread = threading.Thread(target=endless)
    thread.start()
    while thread.is_alive():
        thread.join(0.01)
    assert ended == [True]
