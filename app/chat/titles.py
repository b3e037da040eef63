"""Titles that the model writes while nobody asks for anything.

The newest chat comes first: the engine still has its text in its cache, and the next answer in it begins as it would
have begun. Then come others that have been left without. A title is given up as soon as anybody asks. Nothing of it
is kept but the title: no figures, no memory.
"""

import logging
import re
import threading
from contextlib import closing

from app.chat.chat import ChatService
from app.chat.queue import Queue
from app.store.errors import StoreError
from app.store.private import is_private
from app.store.settings import AppSettings
from app.store.store import Store
from engine.api import EngineAPI, Running
from engine.config import GenerationRequest
from engine.errors import EngineError
from engine.events import Event, Finished, ModelInfo

log = logging.getLogger(__name__)

REST_S = 4.0  # so long nobody has asked for anything
STOP_S = 10.0  # an engine that does not end by then holds up nothing
NEWEST = 20  # chats: older ones keep their first words
# For twelve ordinary first questions SmolLM2, with 0.13 billion, wrote one title that passes below, and no better one.
ENOUGH_PARAMETERS = 1_000_000_000
ORDER = "Write a title for this conversation: two to six words, in its language. Answer with the title alone."
MAX_TOKENS = 24
TEXT_LIMIT = 20_000  # characters of a conversation: a longer one keeps its first words
LENGTH_LIMIT = 60  # characters

_WRAPPING = " \t\"'“”‘’«»*_#`"
_LABEL = re.compile(r"(?i)^(title|titel|titre|título)\s*:\s*")
_JOINERS = "\u200c\u200d"  # within words of many scripts
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")  # scripts that put no spaces between words


def sane_title(text: str) -> str | None:
    """What a model wrote as a title, or None where it is none.

    >>> sane_title('"Marmalade That Sets."'), sane_title("Title: TCP and UDP")
    ('Marmalade That Sets', 'TCP and UDP')
    >>> [sane_title(text) for text in ("Sure! Here is\\na title", "Marmalade", "A title of two to six words", "x " * 9)]
    [None, None, None, None]
    >>> [sane_title(text) for text in ("Evil \u202egpj.exe", "Zero\u200b width", "See https://example.org now")]
    [None, None, None]
    """
    text = _LABEL.sub("", text.strip(_WRAPPING + "\n")).strip(_WRAPPING + ".")
    words = text.split()
    right_length = 2 <= len(words) <= 8 or (bool(_WIDE.search(text)) and 2 <= len(text) <= 30)
    repeats = "six words" in text.lower() or "title" in (word.lower().strip(".,:;!?") for word in words)
    if "\n" in text or len(text) > LENGTH_LIMIT or not right_length or repeats or text.endswith(":"):
        return None
    title = " ".join(words)
    shown = all(sign.isprintable() or sign in _JOINERS for sign in title)
    return title if shown and "://" not in title and "www." not in title.lower() else None


class TitleWriter:
    """Writes one title for each new chat, in a thread of its own, from `start` to `stop`."""

    def __init__(
        self,
        engine: EngineAPI,
        store: Store,
        chat: ChatService,
        queue: Queue,
        settings: AppSettings,
        rest_s: float = REST_S,
    ) -> None:
        self._engine = engine
        self._store = store
        self._chat = chat
        self._queue = queue
        self._settings = settings
        self._rest_s = rest_s
        self._stopping = threading.Event()
        self._due = threading.Event()  # the model has got ready since
        self._thread: threading.Thread | None = None
        self._running: Running[Event] | None = None
        self._tried: set[tuple[int, int | None]] = set()  # chats as they stood: what fails is not tried again
        self.num_written = 0

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="titles", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; what is being written is given up."""
        self._stopping.set()
        self._queue.wake()
        if (running := self._running) is not None:
            running.cancel()
        if self._thread is not None:
            self._thread.join(STOP_S)

    def look_again(self) -> None:
        """The model has got ready: chats that it answered before have no title yet. Waits for nothing."""
        self._due.set()
        self._queue.wake()

    def _run(self) -> None:
        while self._queue.wait_for_rest(self._rest_s, self._stopping.is_set, self._due.is_set):
            self._due.clear()
            try:
                while self.write():
                    pass
            except (EngineError, StoreError, ValueError) as exc:
                log.info("No title was written: %s", exc)
            except Exception:  # the thread must live
                log.exception("No title was written.")

    def wanted(self, info: ModelInfo | None) -> bool:
        """Whether this model writes titles: it is here, ready, and large enough, or a person wants it anyhow."""
        choice = self._settings.titles
        if info is None or info.server is not None or info.provisional or not info.has_chat_template:
            return False
        return choice == "always" or (choice == "auto" and info.num_parameters >= ENOUGH_PARAMETERS)

    def write(self) -> bool:
        """Write the title of the newest chat that has none but its first words; whether there may be another one."""
        newest = self._chat.newest
        if is_private(newest) or not self.wanted(self._engine.info):  # a private chat's cache would be lost
            return False
        found = self._next()
        if found is None:
            return False
        chat, request = found
        if sum(len(message.text) for message in request.messages) > TEXT_LIMIT:
            self._store.improve_title(chat[0], None)
            return True
        end = self._answer(request)
        if end is None:
            self._tried.discard(chat)
            return False
        title = sane_title(end.text) if end.stop_reason == "eos" else None
        self.num_written += self._store.improve_title(chat[0], title)
        return True

    def _next(self) -> tuple[tuple[int, int | None], GenerationRequest] | None:
        """The newest chat with an answer that was not tried as it stands, and what is asked; from now on it was."""
        for conversation in self._store.with_first_words(NEWEST):
            chat = conversation.id, conversation.tip_id
            if chat not in self._tried:
                self._tried.add(chat)
                request = self._chat.request_after(conversation.id, ORDER, MAX_TOKENS)
                if any(message.role == "assistant" for message in request.messages):
                    return chat, request
                self._tried.discard(chat)  # it is being answered, or could not be
        return None

    def _answer(self, request: GenerationRequest) -> Finished | None:
        """The answer, or None where somebody came meanwhile."""
        wanted = threading.Event()  # the engine, by somebody else
        self._running = running = self._engine.generate(request)
        end = None

        def give_way() -> None:
            wanted.set()
            running.cancel()

        place = None if self._stopping.is_set() else self._queue.join_idle(give_way)
        if place is None:
            running.close()
            return None
        with place, closing(running):
            for event in running:
                end = event if isinstance(event, Finished) else None
        return None if wanted.is_set() or self._stopping.is_set() else end
