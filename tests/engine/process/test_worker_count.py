"""Texts are counted in the engine's process, also while it answers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.process.wire import Command, Reply, decode_command, decode_reply, encode
from tests.scripted_answer import split_tokens
from tests.worker_process import REQUEST, Starter, load

TEXTS = ("one two three", "", "\ud83d half, and 日本語")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    starter = Starter(tmp_path)
    yield starter
    starter.close()


@pytest.mark.parametrize("counts", [None, (), (3, 0, 2**40)])
def test_counts_cross_the_pipe(counts: tuple[int, ...] | None) -> None:
    reply = Reply(id=7, kind="counts", counts=counts)
    assert decode_reply(encode(reply)) == reply
    command = Command(id=7, do="count", texts=TEXTS)
    assert decode_command(encode(command)) == command


def test_texts_are_counted_while_an_answer_runs_and_the_answer_goes_on(start: Starter) -> None:
    engine = start("hold_after=3")
    assert engine.count(TEXTS) is None  # no model
    load(engine)
    expected = tuple(len(split_tokens(text)) for text in TEXTS)
    assert engine.count(TEXTS) == expected
    assert engine.count(()) == ()
    answer = engine.generate(REQUEST)
    events = [next(answer)]
    assert engine.count(TEXTS) == expected
    answer.cancel()
    events += list(answer)
    assert type(events[-1]).__name__ == "Finished"
    assert engine.count(TEXTS) == expected


def test_a_count_that_fails_costs_nothing_else(start: Starter) -> None:
    engine = start(
        before="""
        class Engine(ScriptedEngine):
            def count(self, texts):
                raise RuntimeError("no")
        """
    )
    load(engine)
    assert engine.count(TEXTS) is None
    assert type(list(engine.generate(REQUEST))[-1]).__name__ == "Finished"
