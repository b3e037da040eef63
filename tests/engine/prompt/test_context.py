"""Prompts: what the template makes of messages, what people cannot type, and what is left out when it is too long."""

from typing import Any

import pytest

from engine.config import Message
from engine.errors import ContextOverflow, UnsupportedModel
from engine.prompt.detokenise import text_of as answer_text
from engine.prompt.template import end_of_turn_ids, has_thinking_switch
from tests.models import CHATML, byte_tokenizer, metaspace_tokenizer
from tests.prompts import CHAT, GEMMA_LIKE, LLAMA_LIKE, PLAIN, STYLES, THINK, prompt, text_of, turns

# --- templates


def test_the_prompt_is_the_chat_template() -> None:
    built = prompt(CHAT, turns("Hello", "Hi.", "How are you?", system="Be short."))
    plain = CHAT.apply_chat_template(
        [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi."},
            {"role": "user", "content": "How are you?"},
        ],
        tokenize=True,
        add_generation_prompt=True,
    )["input_ids"]
    assert list(built.token_ids) == plain
    assert not built.verbatim
    assert built.dropped_turns == 0


def test_the_template_owns_bos() -> None:
    built = prompt(GEMMA_LIKE, turns("the end"))
    assert built.token_ids.count(GEMMA_LIKE.bos_token_id) == 1
    assert built.token_ids[0] == GEMMA_LIKE.bos_token_id


def test_without_a_system_role_the_system_prompt_joins_the_first_turn() -> None:
    built = prompt(GEMMA_LIKE, turns("the question", "an answer", "and", system="in short"))
    assert text_of(GEMMA_LIKE, built).count("in short\n\nthe question") == 1


def test_a_template_that_ignores_the_system_role_gets_it_in_the_first_turn() -> None:
    built = prompt(LLAMA_LIKE, turns("the question", system="in short"))
    assert "[INST] in short\n\nthe question [/INST]" in text_of(LLAMA_LIKE, built)


def test_a_system_prompt_that_is_supported_stays_one() -> None:
    assert "<|im_start|>system\nshort<|im_end|>" in text_of(CHAT, prompt(CHAT, turns("x", system="short")))


def test_a_system_prompt_in_the_middle_comes_first() -> None:
    messages = (
        Message.of("user", "an"),
        Message.of("system", "short"),
        Message.of("assistant", "in"),
        Message.of("user", "the"),
    )
    assert prompt(CHAT, messages) == prompt(CHAT, turns("an", "in", "the", system="short"))


def test_turns_of_one_role_in_a_row_become_one() -> None:
    messages = (Message.of("user", "an"), Message.of("user", "the"))
    assert "an\n\nthe" in text_of(GEMMA_LIKE, prompt(GEMMA_LIKE, messages))


def test_an_answer_that_was_stopped_before_it_began_is_left_out() -> None:
    messages = (Message.of("user", "an"), Message.of("assistant", ""), Message.of("user", "the"))
    assert prompt(CHAT, messages) == prompt(CHAT, (Message.of("user", "an"), Message.of("user", "the")))


def test_the_thinking_switch_is_seen_and_used() -> None:
    assert has_thinking_switch(THINK)
    assert not has_thinking_switch(CHAT)
    assert not has_thinking_switch(PLAIN)
    off = text_of(THINK, prompt(THINK, turns("x"), thinking=False))
    on = text_of(THINK, prompt(THINK, turns("x"), thinking=True))
    assert off == on + "<think>\n\n</think>\n\n"


def test_a_template_that_fails_is_named() -> None:
    broken = byte_tokenizer(template="{{ raise_exception('no such thing') }}")
    with pytest.raises(UnsupportedModel, match="no such thing"):
        prompt(broken, turns("x"))


def test_a_sentence_of_jinjas_ends_once() -> None:
    reaching = byte_tokenizer(template="{{ ''.__class__.__mro__ }}")
    with pytest.raises(UnsupportedModel, match=r"is unsafe\. Use another version"):
        prompt(reaching, turns("x"))


def test_end_of_turn_is_read_from_the_template() -> None:
    assert end_of_turn_ids(CHAT) == {CHAT.convert_tokens_to_ids("<|im_end|>")}
    assert end_of_turn_ids(GEMMA_LIKE) == {GEMMA_LIKE.convert_tokens_to_ids("<end_of_turn>")}
    assert end_of_turn_ids(LLAMA_LIKE) == {LLAMA_LIKE.eos_token_id}
    assert end_of_turn_ids(byte_tokenizer(template="{% for m in messages %}{{ m.content }}{% endfor %}")) == frozenset()
    assert end_of_turn_ids(PLAIN) == frozenset()
    closed = "{% for m in messages %}{% if m.role == 'assistant' %}{{ raise_exception('no') }}{% endif %}{% endfor %}"
    assert end_of_turn_ids(byte_tokenizer(template=closed)) == frozenset()
    halved = byte_tokenizer(template=CHATML + "\ud800")
    assert end_of_turn_ids(halved) == frozenset()
    with pytest.raises(UnsupportedModel, match=r"wrote half a character\. Use another version"):
        prompt(halved, turns("x"))


# --- continuing


@pytest.mark.parametrize("tokenizer", [CHAT, THINK, GEMMA_LIKE], ids=["chat", "thinking", "gemma"])
def test_a_continued_answer_follows_the_opened_turn(tokenizer: Any) -> None:
    opened = text_of(tokenizer, prompt(tokenizer, turns("x")))
    built = prompt(tokenizer, turns("x", "an answer and"), continue_final=True)
    assert text_of(tokenizer, built) == opened + "an answer and"


def test_a_continued_thought_gets_no_second_thought() -> None:
    opened = text_of(THINK, prompt(THINK, turns("x")))
    for answer in ("<think>\nso far", "<think>\nso\n</think>\n\nyes and"):
        assert text_of(THINK, prompt(THINK, turns("x", answer), continue_final=True)) == opened + answer


def test_a_continued_answer_keeps_the_space_that_the_template_puts_before_it() -> None:
    built = prompt(LLAMA_LIKE, turns("x", "and the"), continue_final=True)
    assert text_of(LLAMA_LIKE, built).endswith("[/INST] and the")


@pytest.mark.parametrize("style", [*STYLES, "verbatim"])
@pytest.mark.parametrize("text", ["an answer and", "日本 an", "<think>\nso\n</think>\n\nyes 😀", " and the"])
def test_an_answer_continues_from_its_own_ids(style: str, text: str) -> None:
    """Cut anywhere: the prompt is the first one and the ids, and the model reads no broken character."""
    tokenizer = PLAIN if style == "verbatim" else STYLES[style]
    first = prompt(tokenizer, turns("x the"))
    ids = tuple(tokenizer.encode(text, add_special_tokens=False))
    for cut in range(1, len(ids) + 1):
        said = answer_text(tokenizer, ids[:cut])
        built = prompt(tokenizer, turns("x the", said), continue_final=True, continued_ids=ids[:cut])
        assert built.token_ids == first.token_ids + ids[:cut]
        assert built.continued_ids == (built.token_ids if style == "verbatim" else ids[:cut])
        assert "\ufffd" not in said
        kept = prompt(tokenizer, turns("x the", said + "\ufffd"), continue_final=True, continued_ids=ids[:cut])
        assert kept.token_ids == built.token_ids  # version 0.1.0 kept it for a character that was cut


@pytest.mark.parametrize("ids", [(5, 6), (100_000,)], ids=["other text", "other model"])
def test_ids_that_do_not_say_what_the_message_says_are_not_used(ids: tuple[int, ...]) -> None:
    messages = turns("x", "an answer that was edited")
    built = prompt(CHAT, messages, continue_final=True, continued_ids=ids)
    assert built == prompt(CHAT, messages, continue_final=True)


def test_continuing_an_empty_answer_opens_it() -> None:
    assert prompt(CHAT, turns("x", ""), continue_final=True) == prompt(CHAT, turns("x"))


# --- no template


def test_without_a_template_the_text_stands_as_it_is() -> None:
    built = prompt(PLAIN, turns("Once upon"))
    assert built.verbatim
    assert text_of(PLAIN, built) == "Once upon"


def test_a_text_is_completed_without_the_template_where_that_is_asked_for() -> None:
    built = prompt(CHAT, turns("Once upon"), verbatim=True)
    assert built.verbatim
    assert text_of(CHAT, built) == "Once upon"
    assert text_of(CHAT, prompt(CHAT, turns("Once upon"))) != "Once upon"


def test_without_a_template_earlier_turns_come_first() -> None:
    built = prompt(PLAIN, turns("Once upon", " a time.", "Then"))
    assert text_of(PLAIN, built) == "Once upon a time.\n\nThen"
    assert text_of(PLAIN, prompt(PLAIN, turns("Once upon", " a"), continue_final=True)) == "Once upon a"


def test_without_a_template_the_tokenizer_owns_bos() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = metaspace_tokenizer(template=None)
    assert prompt(tokenizer, turns("the")).token_ids[0] != tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    ids = prompt(tokenizer, turns("the")).token_ids
    assert list(ids) == tokenizer.encode("the")
    assert ids[0] == tokenizer.bos_token_id
    typed = prompt(tokenizer, turns("the </s>")).token_ids
    assert typed[0] == tokenizer.bos_token_id
    assert tokenizer.eos_token_id not in typed


def test_without_a_template_an_empty_system_prompt_is_none() -> None:
    built = prompt(PLAIN, (Message.of("system", ""), *turns("Hello")))
    assert text_of(PLAIN, built) == "Hello"


def test_a_prompt_without_a_token_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="no token of this prompt"):
        prompt(byte_tokenizer(template="{% if false %}x{% endif %}"), turns("Hello"))


# --- too long


@pytest.mark.parametrize(
    ("system", "message", "words"),
    [
        (
            "rule " * 300,
            "hi",
            r"^The system prompt \([\d,]+ tokens\) is too long: .*180.* Shorten the system prompt, allow",
        ),
        (
            "Be kind.",
            "word " * 300,
            r"^The last message \([\d,]+ tokens\) is too long: .* Shorten the last message, allow",
        ),
        (
            "rule " * 300,
            "word " * 300,
            r"^The system prompt \(.*\) and the last message \(.*\) are too long: .*or the last",
        ),
        (
            "rule " * 25,
            "word " * 25,
            r"^The system prompt \(.*\) and the last message \(.*\) are too long: .*or the last",
        ),
    ],
    ids=["system", "message", "both", "together"],
)
@pytest.mark.parametrize("tokenizer", [CHAT, GEMMA_LIKE, PLAIN], ids=["chat", "gemma", "verbatim"])
def test_the_part_that_is_too_long_is_named(tokenizer: Any, system: str, message: str, words: str) -> None:
    with pytest.raises(ContextOverflow, match=words) as failure:
        prompt(tokenizer, turns("the", "an", message, system=system), context=200, max_tokens=20)
    sizes = [len(tokenizer.encode(text, add_special_tokens=False)) for text in (system, message)]
    named = [f"({size:,} tokens)" in str(failure.value) for size in sizes]
    assert named == ["system prompt (" in str(failure.value), "last message (" in str(failure.value)]


def test_an_answer_that_fills_the_context_is_not_called_a_message() -> None:
    with pytest.raises(
        ContextOverflow, match=r"^The answer so far \([\d,]+ tokens\) is too long.*\. Allow fewer new tokens, or"
    ):
        prompt(CHAT, turns("the", "word " * 300), context=200, max_tokens=20, continue_final=True)


def test_the_oldest_turns_are_left_out_and_the_system_prompt_stays() -> None:
    contents = [f"message number {i} " + "word " * 20 for i in range(9)]
    messages = turns(*contents, system="Be kind.")
    whole = prompt(CHAT, messages, context=100_000)
    assert whole.dropped_turns == 0
    built = prompt(CHAT, messages, context=400, max_tokens=50)
    text = text_of(CHAT, built)
    assert len(built.token_ids) <= 350
    assert built.dropped_turns > 0
    assert built.dropped_turns % 2 == 0
    assert "Be kind." in text
    assert contents[-1] in text
    assert contents[built.dropped_turns] in text
    assert f"message number {built.dropped_turns - 1} " not in text
    # and no more than needed: the shortest prompt with one more turn is too long
    longer = prompt(CHAT, turns(*contents[built.dropped_turns - 2 :], system="Be kind."), context=100_000)
    assert len(longer.token_ids) > 350


def test_the_answer_gets_what_it_asks_for_up_to_a_quarter() -> None:
    messages = turns("word " * 20, "an", "the " * 20)
    length = len(prompt(CHAT, messages, context=100_000).token_ids)
    assert prompt(CHAT, messages, context=length + 8, max_tokens=8).dropped_turns == 0
    assert prompt(CHAT, messages, context=length + 8, max_tokens=9).dropped_turns == 2
    assert prompt(CHAT, messages, context=-(-length * 4 // 3), max_tokens=10_000).dropped_turns == 0


def test_one_message_alone_that_is_too_long_is_refused_with_both_counts() -> None:
    messages = turns("short", "an", "word " * 300)
    alone = len(prompt(CHAT, turns("word " * 300), context=100_000).token_ids)
    with pytest.raises(ContextOverflow) as failure:
        prompt(CHAT, messages, context=200, max_tokens=20)
    assert f"{alone:,}" in str(failure.value)
    assert "180" in str(failure.value)


def test_a_conversation_fits_or_is_refused_at_every_context() -> None:
    messages = turns(*(f"{i} " + "the " * (i * 3) for i in range(1, 8)))
    for context in range(64, 400, 7):
        try:
            built = prompt(CHAT, messages, context=context, max_tokens=1000)
        except ContextOverflow:
            continue
        assert len(built.token_ids) <= context - context // 4
