"""Streams of text: what is given out, when, and that it joins to what the tokenizer makes of the whole."""

import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.prompt.detokenise import TextStream, byte_ids, text_of
from tests.models import byte_tokenizer, metaspace_tokenizer

TOKENIZERS: dict[str, Any] = {
    "bytes": byte_tokenizer(),
    "metaspace": metaspace_tokenizer(),
    "first": metaspace_tokenizer(scheme="first"),
    "never": metaspace_tokenizer(scheme="never"),
    "legacy": metaspace_tokenizer(scheme="legacy"),
}
each_tokenizer = pytest.mark.parametrize("name", TOKENIZERS)


def decode(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True))


def ended(tokenizer: Any, ids: list[int]) -> str:
    """The text of all ids, less a character that they do not finish."""
    ids = [i for i in ids if i not in tokenizer.all_special_ids]
    full = decode(tokenizer, ids)
    spelled = tokenizer.encode("a�", add_special_tokens=False)[-3:]
    if ids[-3:] == spelled:  # U+FFFD itself
        return full
    if full.endswith("�") and ids[-1] in byte_ids(tokenizer):  # one bad byte makes a run of byte tokens unreadable
        for num_open in (1, 2, 3):
            if not decode(tokenizer, ids[:-num_open]).endswith("�"):
                return decode(tokenizer, ids[:-num_open])
    return full[: len(full.rstrip("�"))] if len(full) - len(full.rstrip("�")) < 3 else full[:-3]


def pieces_of(stream: TextStream, ids: list[int]) -> list[str]:
    pieces = [stream.push(i).text for i in ids]
    return [*pieces, stream.flush().text]


@each_tokenizer
@given(data=st.data())
@settings(max_examples=150)
def test_pieces_join_to_the_full_decode_of_any_ids(name: str, data: st.DataObject) -> None:
    tokenizer = TOKENIZERS[name]
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=30))
    stream = TextStream(tokenizer)
    pieces = pieces_of(stream, ids)
    assert "".join(pieces) == ended(tokenizer, ids) == stream.text == text_of(tokenizer, ids)


@each_tokenizer
@given(text=st.text(max_size=80))
@settings(max_examples=150)
def test_no_piece_of_real_text_has_half_a_character(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    text = text.replace("�", "")
    ids = tokenizer.encode(text, add_special_tokens=False)
    pieces = pieces_of(TextStream(tokenizer), ids)
    assert "".join(pieces) == decode(tokenizer, ids)
    assert not any("�" in piece for piece in pieces)


def test_a_character_of_four_tokens_comes_at_once() -> None:
    tokenizer = TOKENIZERS["bytes"]
    ids = tokenizer.encode("a😀b", add_special_tokens=False)
    assert len(ids) == 6
    stream = TextStream(tokenizer)
    assert [stream.push(i).text for i in ids] == ["a", "", "", "", "😀", "b"]


@each_tokenizer
@pytest.mark.parametrize("num_missing", [1, 2, 3])
def test_an_unfinished_character_at_the_end_is_left_out(name: str, num_missing: int) -> None:
    tokenizer = TOKENIZERS[name]
    ids = tokenizer.encode("日a日本😀", add_special_tokens=False)[:-num_missing]
    assert "".join(pieces_of(TextStream(tokenizer), ids)) == "日a日本"


@each_tokenizer
@pytest.mark.parametrize("text", ["a the \ufffd", "\ufffd", "日本\ufffd\ufffd"])
def test_a_replacement_character_that_the_model_wrote_is_whole(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert "".join(pieces_of(TextStream(tokenizer), ids)) == text == text_of(tokenizer, ids)
    more = tokenizer.encode("\n", add_special_tokens=False)[-1:]
    whole = decode(tokenizer, ids + more)
    assert text + "".join(pieces_of(TextStream(tokenizer, ids), more)) == whole


@each_tokenizer
@given(data=st.data())
@settings(max_examples=100)
def test_a_text_cut_anywhere_continues_from_its_ids(name: str, data: st.DataObject) -> None:
    tokenizer = TOKENIZERS[name]
    text = data.draw(st.text("the a日本😀é\n", min_size=1, max_size=60))
    ids = tokenizer.encode(text, add_special_tokens=False)
    cut = data.draw(st.integers(0, len(ids)))
    first = "".join(pieces_of(TextStream(tokenizer), ids[:cut]))
    second = "".join(pieces_of(TextStream(tokenizer, ids[:cut]), ids[cut:]))
    assert "�" not in first + second
    assert first + second == decode(tokenizer, ids)


class Counting:
    """A tokenizer that notes how many tokens it was asked to decode at a time."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.sizes: list[int] = []

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self.tokenizer, attribute)

    def decode(self, ids: list[int], **options: Any) -> str:
        self.sizes.append(len(ids))
        return str(self.tokenizer.decode(ids, **options))


@each_tokenizer
@pytest.mark.parametrize("text", ["あ", " ", "あa", "a あ", "e", "thé", "a  b", "日本語"])
def test_the_work_per_token_does_not_grow_with_the_answer(name: str, text: str) -> None:
    """Of "あ" the last byte alone: broken text without end must not stall, or be decoded again and again."""
    tokenizer = TOKENIZERS[name]
    ids = tokenizer.encode(text, add_special_tokens=False)
    if "あ" in text:
        ids = [i for i in ids if decode(tokenizer, [i]) != "�"] + tokenizer.encode("あ", add_special_tokens=False)[-1:]
    counting = Counting(tokenizer)
    stream = TextStream(counting)
    whole = ids * (3_000 // len(ids))
    longest_wait = waited = 0
    for token_id in whole:
        waited = 0 if stream.push(token_id).text else waited + 1
        longest_wait = max(longest_wait, waited)
    assert stream.text + stream.flush().text == ended(tokenizer, whole)
    assert max(counting.sizes) <= 80
    assert len(counting.sizes) <= 6 * len(whole)
    assert longest_wait <= 40


@each_tokenizer
def test_random_tokens_are_decoded_a_few_at_a_time(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    rng = random.Random(0)
    ids = [rng.randrange(len(tokenizer)) for _ in range(3_000)]
    counting = Counting(tokenizer)
    assert "".join(pieces_of(TextStream(counting), ids)) == ended(tokenizer, ids)
    assert max(counting.sizes) <= 80


def test_a_long_run_of_byte_tokens_is_given_out_while_it_lasts() -> None:
    tokenizer = TOKENIZERS["metaspace"]
    text = "日本語" * 30
    ids = tokenizer.encode(text, add_special_tokens=False)
    stream = TextStream(tokenizer)
    lengths = [len(stream.text) for i in ids if stream.push(i) is not None]
    assert max(later - sooner for sooner, later in pairwise(lengths)) <= 12
    assert stream.text + stream.flush().text == decode(tokenizer, ids) == text


def test_an_answer_that_continues_keeps_its_leading_space() -> None:
    tokenizer = TOKENIZERS["metaspace"]
    prompt = tokenizer.encode("in the", add_special_tokens=False)
    more = tokenizer.encode("and", add_special_tokens=False)
    assert "".join(pieces_of(TextStream(tokenizer, tuple(prompt)), more)) == " and"
    assert "".join(pieces_of(TextStream(tokenizer), more)) == "and"


@each_tokenizer
@given(data=st.data())
@settings(max_examples=100)
def test_after_a_prompt_the_stream_is_the_rest_of_the_whole(name: str, data: st.DataObject) -> None:
    tokenizer = TOKENIZERS[name]
    words = st.text("the and a in.,", min_size=1, max_size=30).filter(str.strip)
    prompt = tokenizer.encode(data.draw(words), add_special_tokens=False)
    answer = tokenizer.encode(data.draw(words), add_special_tokens=False)
    whole = decode(tokenizer, prompt + answer)
    streamed = "".join(pieces_of(TextStream(tokenizer, tuple(prompt)), answer))
    assert decode(tokenizer, prompt) + streamed == whole


# --- stop strings


def stream_text(text: str, stop: tuple[str, ...]) -> tuple[list[str], bool, int]:
    """Stream `text` token by token; the pieces, whether it stopped, and how many tokens were taken."""
    tokenizer = TOKENIZERS["bytes"]
    stream = TextStream(tokenizer, stop=stop)
    pieces = []
    for count, token_id in enumerate(tokenizer.encode(text, add_special_tokens=False), 1):
        step = stream.push(token_id)
        pieces.append(step.text)
        if step.stopped:
            return pieces, True, count
    return [*pieces, stream.flush().text], False, count


def test_a_stop_string_ends_the_text_before_it() -> None:
    pieces, stopped, _ = stream_text("one\n\nUser: two", ("\n\nUser:",))
    assert stopped
    assert "".join(pieces) == "one"


def test_what_only_began_a_stop_string_is_given_out_later() -> None:
    pieces, stopped, _ = stream_text("one\n\nUse it", ("\n\nUser:",))
    assert not stopped
    assert "".join(pieces) == "one\n\nUse it"


def test_a_held_beginning_comes_out_at_the_end() -> None:
    pieces, stopped, _ = stream_text("one\n\nUser", ("\n\nUser:",))
    assert not stopped
    assert "".join(pieces) == "one\n\nUser"
    assert pieces[-1] == "\n\nUser"


def test_nothing_is_held_that_cannot_begin_a_stop_string() -> None:
    tokenizer = TOKENIZERS["bytes"]
    stream = TextStream(tokenizer, stop=("###",))
    for token_id in tokenizer.encode("plain words", add_special_tokens=False):
        before = stream.text
        step = stream.push(token_id)
        assert step.text
        assert stream.text == before + step.text


def test_after_a_stop_nothing_more_is_given_out() -> None:
    tokenizer = TOKENIZERS["bytes"]
    stream = TextStream(tokenizer, stop=("b",))
    ids = tokenizer.encode("a b c", add_special_tokens=False)
    steps = [stream.push(i) for i in ids]
    assert steps[-1] == type(steps[-1])("", True)
    assert stream.flush().text == ""
    assert stream.text == "a "


@given(
    text=st.text("ab#\n é", min_size=1, max_size=40),
    stops=st.lists(st.text("ab#\n", min_size=1, max_size=4), min_size=1, max_size=3),
)
@settings(max_examples=300)
def test_the_text_always_ends_before_the_first_stop_string(text: str, stops: list[str]) -> None:
    pieces, stopped, _ = stream_text(text, tuple(stops))
    places = [text.find(s) for s in stops if s in text]
    assert stopped == bool(places)
    if not places:
        assert "".join(pieces) == text
        return
    # Tokens come one by one, so the stop string that is complete first ends the answer.
    out = "".join(pieces)
    assert text.startswith(out)
    assert not any(s in out for s in stops)
    assert any(text.startswith(s, len(out)) for s in stops)


def test_a_stop_string_that_ends_in_a_byte_token_needs_no_token_behind_it() -> None:
    """As "\\n" is one to Llama 2: its run is held, for a bad byte behind it would change it, but here none comes."""
    tokenizer = TOKENIZERS["metaspace"]
    ids = tokenizer.encode("one\n\ntwo", add_special_tokens=False)
    for stop in ("\n", "\n\n", "e\n"):
        stream = TextStream(tokenizer, stop=(stop,))
        taken = next(number for number, token_id in enumerate(ids, start=1) if stream.push(token_id).stopped)
        assert tokenizer.decode(ids[:taken]) == stream.text + stop
    stream = TextStream(tokenizer, stop=("\u00e9",))
    first, second = tokenizer.convert_tokens_to_ids(["<0xC3>", "<0xA9>"])
    assert not stream.push(first).stopped
    assert stream.push(second).stopped


def test_special_tokens_give_no_text() -> None:
    tokenizer = TOKENIZERS["bytes"]
    ids = tokenizer.encode("a<|im_end|>b", add_special_tokens=False)
    assert tokenizer.eos_token_id in ids
    assert "".join(pieces_of(TextStream(tokenizer), ids)) == "ab"


def test_thinking_marks_survive() -> None:
    tokenizer = TOKENIZERS["bytes"]
    ids = tokenizer.encode("<think>\nso\n</think>\nyes", add_special_tokens=False)
    assert "".join(pieces_of(TextStream(tokenizer), ids)) == "<think>\nso\n</think>\nyes"


@pytest.mark.parametrize("stop", ["<|im_end|>", "two<|im_end|>", "<|im_end|>\n", "<|im_end|><|im_start|>"])
def test_a_stop_string_matches_the_special_token_that_it_spells(stop: str) -> None:
    tokenizer = TOKENIZERS["bytes"]
    stream = TextStream(tokenizer, stop=(stop,))
    ids = tokenizer.encode("one<|endoftext|> two" + stop + " three", add_special_tokens=False)
    taken = next(number for number, token_id in enumerate(ids, start=1) if stream.push(token_id).stopped)
    assert stream.text == "one two"
    assert tokenizer.decode(ids[:taken]) == "one<|endoftext|> two" + stop


def test_a_special_token_that_only_begins_a_stop_string_gives_no_text() -> None:
    tokenizer = TOKENIZERS["bytes"]
    stream = TextStream(tokenizer, stop=("<|im_end|>\nUser",))
    ids = tokenizer.encode("one<|im_end|>\nUse it", add_special_tokens=False)
    assert "".join(pieces_of(stream, ids)) == "one\nUse it" == stream.text
    stream = TextStream(tokenizer, stop=("<|im_end|>\nUser",))
    assert "".join(pieces_of(stream, ids[:2])) == tokenizer.decode(ids[:2], skip_special_tokens=True)


def test_a_stop_string_spelled_in_ordinary_tokens_matches_too() -> None:
    tokenizer = TOKENIZERS["bytes"]
    stream = TextStream(tokenizer, stop=("<|im_end|>",))
    ids = [i for part in ("one <|im", "_end|>") for i in tokenizer.encode(part, add_special_tokens=False)]
    assert [stream.push(i).stopped for i in ids][-1]
    assert stream.text == "one "


def test_a_special_token_ends_a_run_of_byte_tokens() -> None:
    tokenizer = TOKENIZERS["metaspace"]
    stream = TextStream(tokenizer, stop=("\n</s>",))
    ids = tokenizer.encode("one\n\n</s>", add_special_tokens=False)
    assert [stream.push(i).stopped for i in ids][-1]
    assert stream.text == "one\n"
