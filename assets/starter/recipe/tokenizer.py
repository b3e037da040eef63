"""Train the byte-level BPE vocabulary, and write the tokenizer's files.

    python tokenizer.py --conversations chat.jsonl.gz --out FOLDER

Merges are learned on words without the space before them; the most frequent word beginnings then get a second
token with the space, merged last. So a word has the same pieces in a sentence, in quotes or in a table, but for
the space in front, which makes copying from one form to another a matter of few token pairs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from conversations import read_conversations
from model import END, PAD, SPECIAL_TOKENS, VOCAB_SIZE
from tasks import make_task
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.pre_tokenizers import PreTokenizer

NUM_SPACED = 1500  # tokens with a space in front; found by no search
PATTERN = r"'(?:s|t|re|ve|m|ll|d)(?!\p{L})|\n+ *|{space}\p{L}+|{space}\p{N}|{space}[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SPACE = "Ġ"  # the byte-level alphabet's letter for a space
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|turn|>' + message['role'] + '\\n' + message['content'] + '<|end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|turn|>assistant\\n' -}}
{%- endif -%}
"""


def pre_tokenizer(with_space: bool) -> PreTokenizer:
    """Return the splitter; `with_space` keeps one space with the word that follows it."""
    pattern = PATTERN.replace("{space}", " ?" if with_space else "")
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def training_texts(conversations: Path, num_tasks: int = 30_000) -> Iterator[str]:
    """Yield the conversations' turns and as many tasks as make up about a fifth."""
    for conversation in read_conversations(conversations):
        for message in conversation.messages:
            yield message["content"]
    rng = random.Random(0)
    for _ in range(num_tasks):
        for message in make_task(rng, size=rng.randint(1, 5)).messages:
            yield f"{message['role']}\n{message['content']}"


def train_pieces(texts: list[str]) -> Tokenizer:
    """Return a BPE of which no ordinary token begins with a space."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer(with_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - NUM_SPACED,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def spaced_pieces(pieces: Tokenizer, texts: list[str]) -> list[str]:
    """Return the pieces that most often begin a word after a space."""
    counts: Counter[str] = Counter()
    special = set(SPECIAL_TOKENS)
    for encoding in pieces.encode_batch(texts):
        tokens = encoding.tokens
        counts.update(
            after
            for before, after in itertools.pairwise(tokens)
            if before == SPACE and after not in special and after[0] not in (SPACE, "Ċ", "ĉ")
        )
    return [piece for piece, _ in counts.most_common(NUM_SPACED)]


def build_tokenizer(texts: list[str]) -> Tokenizer:
    """Return the shipped tokenizer: the pieces, then their spaced forms as the last merges."""
    pieces = train_pieces(texts)
    spaced = spaced_pieces(pieces, texts)
    model = json.loads(pieces.to_str())["model"]
    vocab: dict[str, int] = model["vocab"]
    merges = [tuple(merge) for merge in model["merges"]]
    for piece in spaced:
        vocab[SPACE + piece] = len(vocab)
        merges.append((SPACE, piece))
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizer(with_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def write_tokenizer(tokenizer: Tokenizer, out: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and the chat template."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 2048,
        "eos_token": END,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (out / "chat_template.jinja").write_text(CHAT_TEMPLATE)


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    write_tokenizer(build_tokenizer(list(training_texts(args.conversations))), args.out)


if __name__ == "__main__":
    main()
