"""Files from elsewhere: imports, and what a model brings."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from app.exchange.own import ImportRefused, export_json
from app.exchange.reading import read_file
from app.store.records import ConversationSettings
from app.store.store import Store
from engine.config import Message
from engine.errors import EngineError
from engine.models.catalog import read_checkpoint
from engine.models.checkpoints.checkpoint import Checkpoint
from engine.models.checkpoints.gguf.header import read_header
from engine.models.tokenizer import end_ids, load_tokenizer
from engine.prompt import template
from tests.app.exchange import exports
from tests.engine.models.test_damaged_folders import attempt, folders, mutated, write
from tests.engine.models.test_gguf_header import PIECES, check_mutation
from tests.fuzz.boundary import Boundary, Check, check_sentence
from tests.fuzz.variants import at, contents, varied
from tests.gguf_files import write_gguf
from tests.models import CHATML, build, byte_tokenizer

BYTES = st.lists(st.tuples(st.integers(0, 2**20), PIECES), max_size=3)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def damaged(data: bytes, changes: list[tuple[int, bytes]], length: int | None = None) -> bytes:
    """The bytes with others here and there, and perhaps cut short."""
    changed = bytearray(data[:length])
    for offset, new in changes:
        offset %= max(1, len(changed))
        changed[offset : offset + len(new)] = new
    return bytes(changed)


# Imports


@cache
def own_export() -> Any:
    with _folder() as folder:
        store = Store(folder / "slipstream.db")
        chat = store.new_conversation(ConversationSettings(system="Answer briefly."), "A talk")
        asked = store.add_message(chat.id, None, "user", "a question")
        store.add_message(chat.id, asked.id, "assistant", "an answer", token_ids=[1, 2])
        text = export_json(store)
        store.close()
    return json.loads(text)


def _shapes() -> st.SearchStrategy[Any]:
    shapes = [
        [exports.CHATGPT],
        [exports.OPEN_WEBUI],
        exports.LM_STUDIO,
        exports.LLAMA_CPP_OLD,
        exports.LLAMA_CPP,
        exports.JAN,
        exports.SILLY_TAVERN,
        own_export(),
    ]
    return st.sampled_from(shapes).flatmap(lambda shape: st.tuples(mutated(shape), BYTES, st.booleans()))


@contextmanager
def importing() -> Iterator[Check]:
    with _folder() as folder:

        def check(value: tuple[Any, list[tuple[int, bytes]], bool]) -> None:
            shape, changes, in_lines = value
            try:
                written = exports.as_lines(shape) if in_lines and isinstance(shape, list) else exports.text(shape)
            except (ValueError, TypeError):  # half a character, which no file holds
                return
            (folder / "import").write_bytes(damaged(written, changes))
            try:
                entries = list(read_file(folder / "import", "export.json"))
            except ImportRefused as exc:
                check_sentence(exc)
                return
            for entry in entries:
                if entry.found is not None:
                    ids = [message.id for message in entry.found.conversation.messages]
                    assert entry.found.conversation.tip in (*ids, None)
                    assert len(set(ids)) == len(ids)

        yield check


# Models


@contextmanager
def model_folders() -> Iterator[Check]:
    with _folder() as folder:

        def check(parts: dict[str, Any]) -> None:
            write(folder, parts)
            outcome = attempt(folder)
            if not isinstance(outcome, Checkpoint):
                check_sentence(outcome)

        yield check


TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


@cache
def _model() -> Path:
    """A tiny model; it goes with the process."""
    folder = Path(tempfile.mkdtemp(prefix="fuzzed-model-"))
    build(folder / "model", "llama")
    return folder / "model"


def _tokenizer_files() -> st.SearchStrategy[Any]:
    parts = {name: json.loads((_model() / name).read_text(encoding="utf-8")) for name in TOKENIZER_FILES}
    return st.sampled_from(TOKENIZER_FILES).flatmap(lambda name: st.tuples(st.just(name), mutated(parts[name])))


@contextmanager
def tokenizers() -> Iterator[Check]:
    with _folder() as folder:
        shutil.copytree(_model(), folder / "model")

        def check(value: tuple[str, Any]) -> None:
            name, part = value
            for each in TOKENIZER_FILES:
                shutil.copyfile(_model() / each, folder / "model" / each)
            (folder / "model" / name).write_text(json.dumps(part), encoding="utf-8")
            try:
                checkpoint = read_checkpoint(folder / "model", "my model")
                tokenizer = load_tokenizer(checkpoint)
                end_ids(tokenizer, checkpoint.generation_defaults(), checkpoint.config)
            except EngineError as exc:
                check_sentence(exc)

        yield check


@contextmanager
def gguf_headers() -> Iterator[Check]:
    with _folder() as folder:
        file = write_gguf(folder / "whole.gguf", _model(), "Q8_0")
        whole, end = file.read_bytes(), min(tensor.offset for tensor in read_header(file).tensors)

        def check(value: tuple[list[tuple[int, bytes]], int | None]) -> None:
            changes, length = value
            changes = [(at % (64 if at % 2 else end), piece) for at, piece in changes]
            check_mutation(folder / "my.gguf", whole, changes, length and length % len(whole))

        yield check


# Chat templates

PIECES_OF_TEMPLATES = st.sampled_from(
    [CHATML, "{% for m in messages %}", "{% endfor %}", "{{ m['content'] }}", "{{ m.role }}", "{% if loop.last %}",
     "{% endif %}", "{% else %}", "{{ messages }}", "{{ messages[0] }}", "{{ messages[99].content }}", "{{ 1/0 }}",
     "{{ raise_exception('no') }}", "{% set x = 'x' * 10**4 %}", "{% set x = x ~ x %}", "{{ x * 10**9 }}",
     "{{ 9**(9**9) }}", "{{ ('x' * 1000000) | length }}", "{{ x | center(10**9) }}", "{{ '%999999999d' % 1 }}",
     "{{ '{:>999999999}'.format(1) }}", "{{ [1] * 10**9 }}", "{{ 'x'.ljust(10**9) }}", "{{ 2 ** 10**8 }}",
     "{% macro f(a) %}{{ f(a) }}{% endmacro %}", "{{ f(1) }}", "{% generation %}", "{% include 'a' %}",
     "{% extends 'a' %}", "{{ ''.__class__.__mro__ }}", "{{ cycler.__init__.__globals__ }}", "{{ tools }}",
     "{{ m['content'] | trim | tojson }}", "{{ strftime_now('%Y') }}", "{{ strftime_now('%' * 9999) }}",
     "{{ range(10**8) | list | length }}", "{{ '' | wordwrap(0) }}", "{{ bos_token }}", "{{ eos_token + 1 }}",
     "{{ namespace(a=1).a }}", "{% for a in range(99999) %}", "{{ lipsum(n=10**6) }}", "{#", "{{", "%}", "\ud800",
     "{{ messages | map(attribute='content') | join }}", "\0", "é"]
)  # fmt: skip
TEMPLATES = st.lists(st.one_of(PIECES_OF_TEMPLATES, st.text(max_size=5)), max_size=8).map("".join)
TALKS = st.lists(
    st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text(max_size=9)), min_size=1, max_size=5
)


@contextmanager
def chat_templates() -> Iterator[Check]:
    tokenizer = byte_tokenizer()
    most, template.MAX_SECONDS = template.MAX_SECONDS, 0.05

    def check(value: tuple[str, list[tuple[Any, str]], bool | None]) -> None:
        tokenizer.chat_template, turns, thinking = value
        try:
            messages = [Message.of(role, text) for role, text in turns]
            text = template.render_prompt(tokenizer, messages, thinking, turns[-1][0] == "assistant")
            template.supports_system_role(tokenizer)
            template.end_of_turn_ids(tokenizer)
            assert isinstance(text, str)
        except (EngineError, ValueError) as exc:
            check_sentence(exc)

    try:
        yield check
    finally:
        template.MAX_SECONDS = most


FILES = (
    Boundary("imports", st.deferred(_shapes), importing, vary=varied),
    Boundary("model-folders", folders(), model_folders, vary=contents),
    Boundary("tokenizers", st.deferred(_tokenizer_files), tokenizers, vary=at(1)),
    Boundary("gguf-headers", st.tuples(BYTES, st.none() | st.integers(0, 2**20)), gguf_headers, vary=varied),
    Boundary("chat-templates", st.tuples(TEMPLATES, TALKS, st.none() | st.booleans()), chat_templates, vary=at(0)),
)
