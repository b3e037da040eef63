"""The starter model: its folder loads, its tokenizer gives text back, its template ends turns."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

END_ID, VOCAB_SIZE = 1, 4096
STARTER = Path(__file__).parents[3] / "assets" / "starter"
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(STARTER)


@pytest.mark.parametrize(
    "text",
    [
        "Grüße, naïve 東京 🚀",
        "a  b\t c\n\n    d\r\n",
        "x" * 50,
        " lead and trail ",
        'don\'t "quote" `it`',
        "0123 45,678.90",
    ],
)
def test_text_comes_back(tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_a_word_has_the_same_pieces_with_and_without_a_space(tokenizer) -> None:
    for word in ("Quinnstrasse", "amount", "xqzvt", "notebook"):
        plain, spaced = tokenizer.tokenize(word), tokenizer.tokenize(" " + word)
        assert "".join(spaced) == "Ġ" + "".join(plain)
        assert spaced[-len(plain) + 1 :] == plain[1:] or len(plain) == 1


def test_template_owns_its_tokens(tokenizer) -> None:
    text = tokenizer.apply_chat_template(MESSAGES, tokenize=False)
    assert text == ("<|turn|>system\nBe brief.<|end|>\n<|turn|>user\nHi<|end|>\n<|turn|>assistant\nHello<|end|>\n")
    asked = tokenizer.apply_chat_template(MESSAGES[:2], tokenize=False, add_generation_prompt=True)
    assert asked.endswith("Hi<|end|>\n<|turn|>assistant\n")
    continued = tokenizer.apply_chat_template(MESSAGES, tokenize=False, continue_final_message=True)
    assert continued.endswith("<|turn|>assistant\nHello")


def test_the_end_of_a_turn_is_the_end_of_generation(tokenizer) -> None:
    assert tokenizer.eos_token_id == END_ID == GenerationConfig.from_pretrained(STARTER).eos_token_id
    config = AutoConfig.from_pretrained(STARTER)
    assert config.eos_token_id == END_ID
    assert config.vocab_size == VOCAB_SIZE == len(tokenizer)
    assert config.max_position_embeddings == 2048


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is Slipstream?", "runs models on your own computer"),
        ("Repeat this text:\n\nThe ferry to Marlow leaves at 7:45.", "The ferry to Marlow leaves at 7:45."),
    ],
)
def test_the_weights_answer_and_end_their_turn(tokenizer, question: str, answer: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(STARTER)
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    output = model.generate(**inputs, max_new_tokens=60)[0, inputs["input_ids"].shape[1] :].tolist()
    assert output[-1] == END_ID
    assert answer in tokenizer.decode(output[:-1])
