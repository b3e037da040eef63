"""A GGUF file's vocabulary as a tokenizer.json with its tokenizer_config.json, the formats of the tokenizers library.

Two kinds are known: byte-level BPE ("gpt2"), whose file names the rule that cuts text into words, and SentencePiece
("llama"). An unknown rule is refused: the ids would be plausible and wrong.
"""

import json
from dataclasses import dataclass
from typing import Any

from engine.errors import BrokenModel, UnsupportedModel
from engine.models.checkpoints.gguf.header import damaged
from engine.models.checkpoints.gguf.metadata import Metadata

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4
_SPACE = "▁"
_LONGEST_PIECE = 256  # characters of a piece whose merges are derived; real ones have fewer than 100
_ENDS = frozenset(  # by which llama.cpp knows what ends an answer, where the file does not name it
    {"<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>", "<|endoftext|>"}
    | {"<|end_of_text|>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<｜end▁of▁sentence｜>"}
    | {"<end_of_utterance>", "< EOT >"}
)

# How text is cut into words, from the tokenizer.json of the models that llama.cpp gives each name.
_WORD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = _WORD + r"\p{N}{1,3}" + _REST
_QWEN2 = _WORD + r"\p{N}" + _REST
_CASED = (  # words by the case of their letters, and what may follow them
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%(tail)s"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%(tail)s"
    r"|\p{N}%(digits)s| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TEKKEN = _CASED % {"tail": "", "digits": ""}
_GPT4O = _CASED % {"tail": "(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "digits": "{1,3}"}


@dataclass(frozen=True, slots=True)
class _Words:
    """How a byte-level vocabulary cuts text: by an expression, or as GPT-2 does. `whole`: a word that is a token is not
    merged; `adds_bos`: what llama.cpp assumes where the file is silent."""

    expression: str | None = None
    single_digits: bool = False
    composed: bool = False  # characters are composed first (NFC)
    whole: bool = False
    adds_bos: bool = False

    def pre_tokenizer(self) -> dict[str, Any]:
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        if self.expression is not None:
            pattern = {"Regex": self.expression}
            split = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
            return {"type": "Sequence", "pretokenizers": [split, level | {"use_regex": False}]}
        if self.single_digits:
            return {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, level]}
        return level


_LLAMA3_WORDS = _Words(_LLAMA3, whole=True, adds_bos=True)
_WORDS = {
    "llama-bpe": _LLAMA3_WORDS,
    "llama3": _LLAMA3_WORDS,
    "llama-v3": _LLAMA3_WORDS,
    "smaug-bpe": _Words(_LLAMA3),
    "dbrx": _Words(_LLAMA3),  # Phi 4
    "qwen2": _Words(_QWEN2, composed=True),
    "deepseek-r1-qwen": _Words(_QWEN2),
    "smollm": _Words(single_digits=True),
    "gpt-2": _Words(),
    "tekken": _Words(_TEKKEN, whole=True, adds_bos=True),  # Mistral NeMo and later
    "gpt-4o": _Words(_GPT4O),  # Phi 4 mini
}


def check_words(metadata: Metadata, name: str) -> None:
    """Refuse a tokenizer whose way of cutting text is unknown here. Raises `UnsupportedModel`."""
    kind = metadata.text("tokenizer.ggml.model")
    if kind not in ("gpt2", "llama"):
        raise UnsupportedModel(
            f"{name} has a tokenizer of the kind {kind!r}, which is not supported. Choose its version with "
            "safetensors files."
        )
    if kind == "gpt2" and (rule := metadata.text("tokenizer.ggml.pre")) not in _WORDS:
        said = f"by the rule {rule!r}, which is unknown here" if rule else "by a rule that the file does not name"
        raise UnsupportedModel(
            f"{name} cuts text into words {said}, so its tokens would be wrong. Choose a newer conversion, or the "
            "model's version with safetensors files."
        )


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens of a file by id, with their kinds, and what the file says about beginnings and ends."""

    name: str
    metadata: Metadata
    tokens: tuple[str, ...]
    kinds: tuple[int, ...]

    @classmethod
    def read(cls, metadata: Metadata, name: str) -> "Vocabulary":
        """The file's tokens. Raises `BrokenModel` or `UnsupportedModel`."""
        check_words(metadata, name)
        spelled: dict[str, int] = {}
        for number, token in enumerate(metadata.array("tokenizer.ggml.tokens", str)):
            if not token or token in spelled:  # as llama.cpp does with what nobody can type
                token = f"[UNNAMED {number}]"
            spelled[token] = number
        tokens = tuple(spelled)
        kinds = metadata.array("tokenizer.ggml.token_type", int) or [_NORMAL] * len(tokens)
        if not tokens or len(kinds) != len(tokens):
            raise damaged(metadata.file, f"it has {len(tokens):,} tokens and {len(kinds):,} kinds of them")
        return cls(name, metadata, tokens, tuple(kinds))

    @property
    def _byte_level(self) -> bool:
        return self.metadata.text("tokenizer.ggml.model") == "gpt2"

    @property
    def _words(self) -> _Words:
        return _WORDS[self.metadata.text("tokenizer.ggml.pre") or ""]

    def _special(self, key: str, usual: int | None) -> str | None:
        """A named token; `usual` is llama.cpp's id for SentencePiece where the file is silent.

        An ordinary piece is none: the tokenizers library would find it in a text before its neighbours are merged.
        """
        number = self.metadata.token(key, len(self.tokens), None if self._byte_level else usual)
        if number is None or (key in ("padding", "unknown") and self.kinds[number] == _NORMAL):
            return None
        return self.tokens[number]

    def end_ids(self) -> list[int]:
        """What ends an answer: the end of the text, of a turn, of a message, and what is spelled like one of them."""
        named = {self.metadata.token(key, len(self.tokens)) for key in ("eos", "eot", "eom")}
        spelled = {
            number
            for number, (token, kind) in enumerate(zip(self.tokens, self.kinds, strict=True))
            if token in _ENDS and kind in (_CONTROL, _USER_DEFINED)
        }
        return sorted(number for number in named | spelled if number is not None)

    def files(self) -> dict[str, str]:
        """The texts of tokenizer.json and tokenizer_config.json by name. Raises `BrokenModel`."""
        bos, eos = self._special("bos", 1), self._special("eos", 2)
        template = self.metadata.text("tokenizer.chat_template")
        adds_bos = self.metadata.flag(
            "tokenizer.ggml.add_bos_token", self._words.adds_bos if self._byte_level else True
        )
        if template and adds_bos and bos and "bos_token" not in template and bos not in template:
            template = "{{ bos_token }}" + template  # llama.cpp puts it there where the template does not
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": bos,
            "eos_token": eos,
            "unk_token": self._special("unknown", 0),
            "pad_token": self._special("padding", None),
            "clean_up_tokenization_spaces": False,
        } | ({"chat_template": template} if template else {})
        described = self._bytes() if self._byte_level else self._sentencepiece()
        whole = described | {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": self._added(),
            "post_processor": _begins_with(bos, self.tokens.index(bos)) if adds_bos and bos else None,
        }
        named = {key: value for key, value in config.items() if value is not None}
        return {"tokenizer.json": json.dumps(whole), "tokenizer_config.json": json.dumps(named)}

    def _added(self) -> list[dict[str, Any]]:
        """The tokens that are found in a text before it is cut: control tokens, and those of the model's makers."""
        architecture = self.metadata.architecture
        added = []
        for number, (token, kind) in enumerate(zip(self.tokens, self.kinds, strict=True)):
            if kind not in (_CONTROL, _USER_DEFINED):
                continue
            gap = self._is_gap(token)
            strips = architecture == "phi3" and not self._byte_level and kind == _CONTROL
            added.append(
                {
                    "id": number,
                    "content": _SPACE * len(token) if gap else token,
                    "single_word": False,
                    "lstrip": False,
                    # Phi 3's marks take the spaces behind them, which only llama.cpp's program knows.
                    "rstrip": strips and token not in ("<unk>", "<s>", "<|endoftext|>"),
                    "normalized": gap,  # found where spaces already have their other form
                    "special": kind == _CONTROL,
                }
            )
        return added

    def _is_gap(self, token: str) -> bool:
        """Whether a SentencePiece token is some spaces, which the file writes as such and the pieces do not."""
        return not self._byte_level and not token.strip(" " + _SPACE)

    def _bytes(self) -> dict[str, Any]:
        words = self._words
        merges = [self._pair(merge) for merge in self.metadata.array("tokenizer.ggml.merges", str)]
        vocab = {token: number for number, token in enumerate(self.tokens)}
        model = _bpe(vocab, merges) | {"ignore_merges": words.whole}
        return {
            "normalizer": {"type": "NFC"} if words.composed else None,
            "pre_tokenizer": words.pre_tokenizer(),
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": model,
        }

    def _pair(self, merge: str) -> tuple[str, str]:
        left, space, right = merge.partition(" ")
        if not (left and space and right):
            raise damaged(self.metadata.file, f"its merge {merge[:40]!r} is no pair")
        return left, right

    def _sentencepiece(self) -> dict[str, Any]:
        """As Llama 2's tokenizer.json, or Gemma's, which puts no space before a text."""
        gemma = self.metadata.architecture.startswith("gemma")
        tokens = [_SPACE * len(token) if self._is_gap(token) else token for token in self.tokens]
        vocab = {token: number for number, token in enumerate(tokens)}
        scores = self.metadata.array("tokenizer.ggml.scores", float)
        if not gemma and len(scores) != len(tokens):
            raise damaged(self.metadata.file, f"it has {len(tokens):,} tokens and {len(scores):,} scores")
        # Gemma's pieces stand in the order of their merges; elsewhere the scores tell it.
        ranks = [-float(number) for number in range(len(tokens))] if gemma else scores
        takes_part = [kind == _NORMAL for kind in self.kinds]
        prefixed = self.metadata.flag("tokenizer.ggml.add_space_prefix", True)
        spaces: dict[str, Any] = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
        prepend = [{"type": "Prepend", "prepend": _SPACE}] if prefixed else []
        decoders: list[dict[str, Any]] = [
            {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
        ]
        strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefixed else []
        unknown = self._special("unknown", 0)
        return {
            "normalizer": {"type": "Sequence", "normalizers": [*prepend, spaces]},
            "pre_tokenizer": None,
            "decoder": {"type": "Sequence", "decoders": [*decoders, *strip]},
            "model": _bpe(vocab, _derived_merges(tokens, ranks, takes_part))
            | {"unk_token": unknown, "fuse_unk": True, "byte_fallback": True},
        }


def _bpe(vocab: dict[str, int], merges: list[tuple[str, str]]) -> dict[str, Any]:
    """A BPE model. Raises `BrokenModel` where a merge is of pieces that the vocabulary does not have."""
    for left, right in merges:
        if not (left in vocab and right in vocab and left + right in vocab):
            raise BrokenModel(
                f"The file's tokenizer is damaged: its merge of {left[:40]!r} and {right[:40]!r} makes no token. "
                "Delete the file and download it again."
            )
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": vocab,
        "merges": merges,
    }


def _derived_merges(tokens: list[str], ranks: list[float], takes_part: list[bool]) -> list[tuple[str, str]]:
    """The merges that SentencePiece's scores stand for: every way to make a piece of two, best pieces first.

    >>> _derived_merges(["a", "b", "ab", "abb"], [0.0, 0.0, -2.0, -1.0], [True] * 4)
    [('ab', 'b'), ('a', 'b')]
    """
    pieces = {token for token, part in zip(tokens, takes_part, strict=True) if part}
    ranked: list[tuple[tuple[float, int, int], tuple[str, str]]] = []
    for token, rank in zip(tokens, ranks, strict=True):
        if token in pieces and len(token) <= _LONGEST_PIECE:
            for cut in range(1, len(token)):
                left, right = token[:cut], token[cut:]
                if left in pieces and right in pieces:
                    ranked.append(((rank, len(left), len(right)), (left, right)))
    ranked.sort(key=lambda entry: entry[0], reverse=True)
    return [pair for _, pair in ranked]


def _begins_with(token: str, number: int) -> dict[str, Any]:
    """What puts a token before a text that is encoded with special tokens."""
    start = {"SpecialToken": {"id": token, "type_id": 0}}
    first, second = ({"Sequence": {"id": part, "type_id": 0}} for part in "AB")
    return {
        "type": "TemplateProcessing",
        "single": [start, first],
        "pair": [start, first, start, second],
        "special_tokens": {token: {"id": token, "ids": [number], "tokens": [token]}},
    }
