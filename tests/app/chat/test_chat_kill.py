"""kill -9 of everything in the middle of an answer: what came is there at the next start."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.store.store import Store

SCRIPT = """
import sys, threading
from pathlib import Path
from app.chat.chat import ChatService
from app.store.records import ConversationSettings
from app.store.store import Store
from tests.scripted import ScriptedEngine

store = Store(Path(sys.argv[1]))
engine = ScriptedEngine(answers=("one two three four five six seven eight",), loaded=True, hold_after=6)
chat = ChatService(engine, store)
turn = chat.send(store.new_conversation(ConversationSettings()).id, "Find me again tomorrow")
seen = store.message(turn.message_id)
while not seen.text or seen.text != turn.state().text:
    threading.Event().wait(0.02)
    seen = store.message(turn.message_id)
print(seen.text, len(seen.token_ids), flush=True)
threading.Event().wait()
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_kill_in_the_middle_of_an_answer_loses_nothing_that_was_saved(tmp_path: Path) -> None:
    file = tmp_path / "slipstream.db"
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(file)], cwd=root, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    try:
        assert process.stdout is not None
        *words, num_ids = process.stdout.readline().split()
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert words
    store = Store(file)
    (line,) = store.conversations("tomorrow")
    question, answer = store.path(line.id)
    assert question.text == "Find me again tomorrow"
    assert answer.text == " ".join(words)
    assert answer.status == "interrupted"
    assert len(answer.token_ids) == int(num_ids) > 1
    store.close()
