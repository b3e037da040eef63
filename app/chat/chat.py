"""A conversation's turns: what a person asks for becomes messages in the store and one answer of the engine.

A conversation has one turn at a time; a second one is refused with `EngineBusy`. Turns of several conversations wait in
one line for the engine. Knows nothing of the page, and builds no prompt: the engine does.
"""

import logging
import secrets
import threading
from dataclasses import replace
from typing import TypeVar

from app.chat.attachments import Changes, with_attachments
from app.chat.compare_turn import CompareTurn
from app.chat.loading import Loader
from app.chat.queue import Asker, Queue
from app.chat.turn import Prepare, Turn
from app.store.attachments import Attachments
from app.store.parts import Part, Parts
from app.store.private import Stores, is_private
from app.store.records import Conversation, StoredMessage
from app.store.store import Store
from app.store.text import clean_text
from engine.api import Compares, EngineAPI
from engine.config import GenerationRequest, Message, Sampling
from engine.errors import EngineBusy

log = logging.getLogger(__name__)

MESSAGE_LIMIT = 200_000  # characters
ELSEWHERE_LIMIT = 200_000  # characters of other branches
TITLE_LENGTH = 60
NUM_SEEDS = 2**32
WARMER = 0.7  # the temperature of another answer where the likeliest tokens only repeat the one before
PENALTY = 1.2  # the repetition penalty that an answer in circles is written again with (Keskar et al. 2019)
STOP_S = 30.0  # an answer that is stopped is saved within that time

AnyTurn = TypeVar("AnyTurn", Turn, CompareTurn)


class ChatService:
    """Sends, regenerates, edits, continues and compares; every method starts a turn and returns at once.

    Turns wait in the `queue`, also for a model that `loader` loads.
    """

    def __init__(
        self, engine: EngineAPI, store: Store | Stores, queue: Queue | None = None, loader: Loader | None = None
    ) -> None:
        self._engine = engine
        self._stores = store if isinstance(store, Stores) else Stores(store)
        self._queue = queue or Queue()
        self._loader = loader
        self._lock = threading.Lock()  # held while a turn is being started
        self._turns: tuple[Turn | CompareTurn, ...] = ()  # all that are not saved, and the newest
        self.num_turns = 0  # that were started

    @property
    def running(self) -> Turn | CompareTurn | None:
        """The first turn that has not ended, for a page to attach to."""
        return next((turn for turn in self._turns if not turn.done), None)

    @property
    def answering(self) -> bool:
        """Whether any turn has more to do than to wait for its place in the line."""
        return any(turn.state().waiting is None for turn in self._turns if not turn.done)

    @property
    def num_running(self) -> int:
        """Turns that are being answered or wait."""
        return sum(not turn.done for turn in self._turns)

    @property
    def num_unsaved(self) -> int:
        """Answers that have ended and could not be saved yet."""
        return sum(turn.done and not turn.saved for turn in self._turns)

    def running_in(self, conversation_id: int | None) -> Turn | CompareTurn | None:
        """The conversation's turn that has not ended."""
        return next((turn for turn in self._turns if turn.conversation_id == conversation_id and not turn.done), None)

    def send(self, conversation_id: int, text: str, *, recommended: bool = False) -> Turn:
        """Add the message after the tip, with what is attached to it, and answer it.

        `recommended`: nobody has chosen the conversation's sampling yet, because no model was there to recommend one;
        it becomes that of the model which answers.
        """
        text = self._message(conversation_id, text)
        with self._lock:
            conversation = self._free(conversation_id)
            request, answer_id = self._add(conversation, conversation.tip_id, text)
            turn = Turn(self._engine, self._store(conversation_id), request, conversation_id, answer_id)
            return self._start(turn, self._recommended if recommended else None)

    def edit(self, conversation_id: int, message_id: int, text: str, attached: Changes | None = None) -> Turn:
        """Put another version of the user's message beside it, with the same attachments or as they were changed, and
        answer that; the old one stays."""
        attached = attached or Changes()
        text = clean_message(text, attached=bool(attached.of(self._store(conversation_id).message(message_id))))
        with self._lock:
            conversation = self._free(conversation_id)
            message = self._message_of(conversation, message_id)
            if message.role != "user":
                raise ValueError("Only your own messages can be edited: regenerate an answer instead.")
            request, answer_id = self._add(conversation, message.parent_id, text, (message, attached))
            return self._start(Turn(self._engine, self._store(conversation_id), request, conversation_id, answer_id))

    def regenerate(
        self, conversation_id: int, message_id: int, *, penalised: bool = False, warmer: bool = False
    ) -> Turn:
        """Make another answer beside this one, with a new seed; or the answer that a user's message lacks.

        For this answer alone, `penalised`: with a repetition penalty; `warmer`: at `WARMER` or above.
        """
        with self._lock:
            conversation = self._free(conversation_id)
            message = self._message_of(conversation, message_id)
            question_id = message.id if message.role == "user" else message.parent_id
            if question_id is None:
                raise ValueError("This answer has no question before it: send a message instead.")
            sampling = replace(conversation.settings.sampling, seed=new_seed())
            if warmer:
                sampling = replace(sampling, temperature=max(WARMER, sampling.temperature))
            if penalised:
                penalty = penalty_above(sampling.repetition_penalty)
                sampling = replace(sampling, repetition_penalty=penalty)
            request, answer_id = self._again(conversation, question_id, sampling)
            return self._start(Turn(self._engine, self._store(conversation_id), request, conversation_id, answer_id))

    def leave_loop(self, conversation_id: int, message_id: int) -> Turn:
        """Answer again with a repetition penalty; if the answer is still being written, it is stopped first."""
        turn = self.running_in(conversation_id)
        if turn is not None and turn.message_id == message_id:
            turn.stop()
            turn.wait_done(STOP_S)
        return self.regenerate(conversation_id, message_id, penalised=True)

    def continue_answer(self, conversation_id: int, message_id: int) -> Turn:
        """Continue an answer that was stopped or cut short, where nothing follows it yet."""
        with self._lock:
            conversation, store = self._free(conversation_id), self._store(conversation_id)
            answer = self._message_of(conversation, message_id)
            if answer.role != "assistant" or not (answer.text.strip() or answer.token_ids):
                raise ValueError("There is no text to continue: regenerate the answer instead.")
            if store.has_children(answer.id):
                raise ValueError("Messages follow this answer: regenerate it instead, or send a new message.")
            sampling = self._sampling(conversation)
            if answer.run is not None and conversation.settings.seed is None:
                sampling = replace(sampling, seed=answer.run.seed)  # as if it had not been interrupted
            request = self._request(conversation, answer.id, sampling)
            with store.transaction():
                store.place_tip(answer.id)
                store.update_message(answer.id, answer.text, answer.token_ids, "streaming")
            where = (conversation_id, answer.id, answer.text, answer.token_ids)
            return self._start(Turn(self._engine, store, request, *where))

    def edit_answer(self, conversation_id: int, message_id: int, text: str) -> int:
        """Put a version that a person wrote beside an answer, show it, and return its id; nothing is generated."""
        text = clean_message(text)
        with self._lock:
            conversation = self._free(conversation_id)
            answer = self._message_of(conversation, message_id)
            if answer.role != "assistant":
                raise ValueError("That is no answer: edit it as your own message.")
            return self._store(conversation_id).add_message(conversation.id, answer.parent_id, "assistant", text).id

    def cut(self, conversation_id: int, message_id: int) -> Part:
        """Put a message and all that follows it into the trash."""
        with self._lock:
            conversation = self._free(conversation_id)
            return Parts(self._store(conversation_id)).cut(self._message_of(conversation, message_id).id)

    def put_back(self, part: Part) -> None:
        """Undo `cut`."""
        with self._lock:
            self._free(part.conversation_id)
            Parts(self._store(part.conversation_id)).put_back(part)

    def branch(self, conversation_id: int, message_id: int) -> int:
        """Begin a conversation with a copy of this one as far as the message; returns its id."""
        with self._lock:
            conversation = self._free(conversation_id)
            return Parts(self._store(conversation_id)).branch(self._message_of(conversation, message_id).id)

    @property
    def newest(self) -> int | None:
        """The conversation that was answered last, whose text the engine still has."""
        return self._turns[-1].conversation_id if self._turns else None

    def request_after(self, conversation_id: int, order: str, max_tokens: int) -> GenerationRequest:
        """The conversation as it stands and one more message, which is not kept, to be answered without drafts."""
        conversation = self._store(conversation_id).conversation(conversation_id)
        if conversation.tip_id is None:
            raise ValueError("There is nothing in this conversation yet.")
        request = self._request(conversation, conversation.tip_id, Sampling())
        return replace(
            request,
            messages=(*request.messages, Message.of("user", order)),
            continue_final=False,
            continued_ids=(),
            mode="plain",
            max_tokens=max_tokens,
            thinking=False,
            conversation=None,
            memory=False,
            elsewhere=(),
        )

    def compare(self, conversation_id: int, text: str) -> CompareTurn:
        """Add the message after the tip and answer it both ways; the adaptive answer stays."""
        text, compares = self._message(conversation_id, text), self._comparing()
        with self._lock:
            conversation = self._free(conversation_id)
            request, answer_id = self._add(conversation, conversation.tip_id, text)
            where = (self._store(conversation_id), request, conversation_id, answer_id)
            return self._start(CompareTurn(self._engine, compares, *where))

    def compare_last(self, conversation_id: int) -> CompareTurn:
        """Answer the newest question once more, both ways; the adaptive answer stands beside the one before."""
        compares = self._comparing()
        with self._lock:
            conversation = self._free(conversation_id)
            path = self._store(conversation_id).path(conversation_id)
            question = next((message for message in reversed(path) if message.role == "user"), None)
            if question is None:
                raise ValueError("There is nothing to compare yet: write a message first.")
            request, answer_id = self._again(conversation, question.id, self._sampling(conversation))
            where = (self._store(conversation_id), request, conversation_id, answer_id)
            return self._start(CompareTurn(self._engine, compares, *where))

    def stop(self, conversation_id: int | None) -> None:
        """Stop the conversation's turn, whether it is being answered or waits."""
        if turn := self.running_in(conversation_id):
            turn.stop()

    def forget(self, conversation_id: int) -> None:
        """Stop what runs in a private chat, wait for its end, and let go of it."""
        with self._lock:  # one that was just being started has started
            ours = [turn for turn in self._turns if turn.conversation_id == conversation_id]
        for turn in ours:
            turn.stop()
        for turn in ours:
            turn.join(STOP_S)
        with self._lock:
            self._turns = tuple(turn for turn in self._turns if turn not in ours)

    def close(self, timeout: float | None = 10.0) -> None:
        """Stop all turns and wait until their text is saved; raises `StoreError` where that cannot be."""
        with self._lock:
            for turn in self._turns:
                turn.stop()
            for turn in self._turns:
                turn.join(timeout)
                if turn.done:
                    turn.save_end()

    def _comparing(self) -> Compares:
        """The engine's capability to compare; raises `ValueError` where it has none, or has not got ready for it."""
        if self._engine.compares is None:
            raise ValueError("This engine cannot compare: send the message instead.")
        if self._engine.info is not None and self._engine.info.provisional:
            raise ValueError("The model is still getting ready to draft: compare when the line below says that it is.")
        return self._engine.compares

    def _store(self, conversation_id: int) -> Store:
        return self._stores.of(conversation_id)

    # How a turn begins; the lock is held

    def _free(self, conversation_id: int) -> Conversation:
        """The conversation, once nothing runs in it and all its turns that ended are saved."""
        if self.running_in(conversation_id):
            raise EngineBusy("An answer is being written: wait for its end or stop it first.")
        for turn in self._turns:
            if turn.done and turn.conversation_id == conversation_id:
                turn.save_end()  # does nothing unless the disk was full at its end
        return self._store(conversation_id).conversation(conversation_id)

    def _message_of(self, conversation: Conversation, message_id: int) -> StoredMessage:
        message = self._store(conversation.id).message(message_id)
        if message.conversation_id != conversation.id:
            raise ValueError(f"Message {message_id} belongs to another conversation: load the page again.")
        return message

    def _message(self, conversation_id: int, text: str) -> str:
        """The text of a new message; it may be empty where something is attached."""
        return clean_message(text, attached=bool(Attachments(self._store(conversation_id)).waiting(conversation_id)))

    def _add(
        self,
        conversation: Conversation,
        parent_id: int | None,
        text: str,
        edited: tuple[StoredMessage, Changes] | None = None,
    ) -> tuple[GenerationRequest, int]:
        """Store the question and its empty answer, both or none; returns the request and the answer's id.

        With the question goes what waits to be sent, or what the `edited` message has, as it was changed.
        """
        store = self._store(conversation.id)
        attachments = Attachments(store)
        with store.transaction():
            question = store.add_message(conversation.id, parent_id, "user", text)
            if edited is None:
                attachments.send(conversation.id, question.id)
            else:
                before, changes = edited
                attachments.copy(before.id, question.id, changes.without)
                kept = len(changes.of(before)) - len(changes.added)
                for one in changes.of(before)[kept:]:
                    attachments.insert(conversation.id, question.id, one.name, one.kind, one.size, one.text)
            names = ", ".join(one.name for one in store.message(question.id).attachments)
            store.set_title(conversation.id, title_for(text) or title_for(names))
            request = self._request(conversation, question.id, self._sampling(conversation))
            answer = store.add_message(conversation.id, question.id, "assistant", "", status="streaming")
        return request, answer.id

    def _again(self, conversation: Conversation, question_id: int, sampling: Sampling) -> tuple[GenerationRequest, int]:
        """Store another empty answer to the question; returns the request and the answer's id."""
        store = self._store(conversation.id)
        with store.transaction():
            request = self._request(conversation, question_id, sampling)
            answer = store.add_message(conversation.id, question_id, "assistant", "", status="streaming")
        return request, answer.id

    def _start(self, turn: AnyTurn, prepare: Prepare | None = None) -> AnyTurn:
        turn.start(self._queue.join(Asker(kind="page", name=str(turn.conversation_id))), self._loader, prepare)
        self._turns = (*(earlier for earlier in self._turns if not earlier.saved), turn)
        self.num_turns += 1
        return turn

    def _recommended(self, request: GenerationRequest) -> GenerationRequest:
        """The request with the sampling that the loaded model recommends, which the conversation takes over."""
        if self._engine.info is None or request.conversation is None:
            return request
        store = self._store(int(request.conversation))
        conversation = store.conversation(int(request.conversation))
        sampling = replace(self._engine.info.default_sampling, seed=0)
        conversation = replace(conversation, settings=replace(conversation.settings, sampling=sampling))
        store.save_settings(conversation.id, conversation.settings)
        return replace(request, sampling=self._sampling(conversation))

    def _request(self, conversation: Conversation, to: int, sampling: Sampling) -> GenerationRequest:
        """What the engine is asked for the branch that ends in `to`.

        Answers without text are left out. So is a question that could not be answered, such as one that is too long:
        it would make every later one fail.
        """
        settings = conversation.settings
        path = self._store(conversation.id).path(conversation.id, to)
        failed = {m.parent_id for m in path if m.role == "assistant" and m.status == "error" and not m.text.strip()}
        begun = {to} if path and path[-1].token_ids else set()  # without a text yet: it ends inside its first character
        said = [m for m in path if (m.text.strip() or m.attachments or m.id in begun) and m.id not in failed]
        messages = [Message.of(m.role, with_attachments(m.text, m.attachments)) for m in said]
        continues = messages[-1].role == "assistant"
        if settings.system.strip():
            messages.insert(0, Message.of("system", settings.system))
        return GenerationRequest(
            messages=tuple(messages),
            mode=settings.mode,
            drafter=settings.drafter,
            exactness=settings.exactness,
            sampling=sampling,
            max_tokens=settings.max_tokens,
            thinking=settings.thinking,
            conversation=str(conversation.id),
            memory=settings.memory,
            continue_final=continues,
            continued_ids=said[-1].token_ids if continues else (),
            elsewhere=self._elsewhere(conversation, [message.id for message in path]),
            private=is_private(conversation.id),
        )

    def _elsewhere(self, conversation: Conversation, path: list[int]) -> tuple[str, ...]:
        """What other branches say, to be drafted from: of more than there is room for, the newest."""
        texts = self._store(conversation.id).texts_elsewhere(conversation.id, path)
        room = ELSEWHERE_LIMIT
        for kept, text in enumerate(reversed(texts)):
            room -= len(text)
            if room < 0:
                return tuple(texts[len(texts) - kept :])
        return tuple(texts)

    def _sampling(self, conversation: Conversation) -> Sampling:
        """The conversation's sampling with the seed of this answer."""
        sampling, seed = conversation.settings.sampling, conversation.settings.seed
        if seed is None:
            seed = sampling.seed if sampling.greedy else new_seed()
        return replace(sampling, seed=seed)


def clean_message(text: str, *, attached: bool = False) -> str:
    """The message without control characters; raises `ValueError` where nothing is left or it is too long.

    With something `attached` it may be empty.
    """
    if not isinstance(text, str):
        raise ValueError(f"A message must be text; got {type(text).__name__}.")
    if len(text) > MESSAGE_LIMIT:
        raise ValueError(
            f"The message has {len(text):,} characters; at most {MESSAGE_LIMIT:,} fit. "
            "Shorten it, send it in several parts, or attach it as a file."
        )
    text = clean_text(text)
    if not text.strip() and not attached:
        raise ValueError("The message is empty: write something first.")
    return text if text.strip() else ""


def title_for(text: str) -> str:
    """The message's first line with words in it, cut between two words."""
    line = next((" ".join(line.split()) for line in text.splitlines() if line.strip()), "")
    if len(line) <= TITLE_LENGTH:
        return line
    cut = line[:TITLE_LENGTH]
    return (cut.rsplit(" ", 1)[0] if " " in cut[TITLE_LENGTH // 2 :] else cut) + "…"


def penalty_above(present: float) -> float:
    """The penalty for another answer: a looping one shows that the present one is too low.

    >>> penalty_above(1.0), penalty_above(1.2), penalty_above(10)
    (1.2, 1.3, 10)
    """
    return PENALTY if present < PENALTY else min(round(present + 0.1, 2), 10)


def new_seed() -> int:
    """A random seed that people can copy and JavaScript can hold."""
    return secrets.randbelow(NUM_SEEDS)
