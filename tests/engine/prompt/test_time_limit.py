"""A chat template that loops for ever is given up, and the thread it ran in goes on."""

import sys
import threading
from contextlib import suppress

import pytest

from engine.errors import UnsupportedModel
from engine.prompt import template
from engine.prompt.time_limit import TookTooLong, within
from tests.models import CHATML, byte_tokenizer

ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
TURNS = [{"role": "user", "content": "Hi"}]


def loop() -> None:
    while True:
        pass


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
        with suppress(TookTooLong):
            within(0.0, lambda: None)
    assert sum(range(100_000)) == 4_999_950_000


def test_what_is_raised_where_python_drops_it_is_raised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Held:
        def __del__(self) -> None:
            loop()

    dropped: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: dropped.append(told.exc_type))

    def work() -> None:
        Held()
        loop()

    while not dropped:  # it may come before `work` has come so far
        with pytest.raises(TookTooLong):
            within(0.1, work)
    assert set(dropped) == {TookTooLong}


def test_another_thread_is_not_meant() -> None:
    ended: list[bool] = []

    def endless() -> None:
        try:
            within(0.1, loop)
        except TookTooLong:
            ended.append(True)

    thread = threading.Thread(target=endless)
    thread.start()
    while thread.is_alive():
        thread.join(0.01)
    assert ended == [True]
