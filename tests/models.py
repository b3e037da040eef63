"""Tiny random models in the ordinary Hugging Face layout, built in a folder and loaded like any model.

Their tokenizers are made here too: a byte-level BPE as Qwen and Llama 3 have, and a SentencePiece-like one with
byte fallback and a leading space as Llama 2, Gemma and Mistral have.
"""

import shutil
from pathlib import Path
from typing import Any, Literal

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

Style = Literal["bytes", "metaspace"]

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Like Qwen3's: a thinking switch; an answer in the last turn gets an empty thought, older thoughts are removed.
THINKING = (
    "{% for m in messages %}{% set c = m['content'] %}"
    "{% if m['role'] == 'assistant' %}"
    "{% if '</think>' in c %}{% set c = c.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{% if loop.last %}{% set c = '<think>\n\n</think>\n\n' + c %}{% endif %}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + c + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{% endif %}"
)
# Like Gemma's: no system role, strict alternation, turn marks that are not special tokens, trimmed contents.
GEMMA = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' }}"
    "{{ m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
# Like Llama 2's: instructions between plain-text marks, a space before the answer.
INSTRUCT = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)

_CORPUS = [
    "The quick brown fox jumps over the lazy dog, and the dog sleeps on in the warm afternoon sun.",
    "def add(first, second):\n    return first + second\n\nfor i in range(10):\n    print(add(i, 1))",
    "What is the capital of France? The capital of France is Paris, a city on the Seine.",
    "Das schöne Mädchen aß süße Früchte. Où êtes-vous né, à côté du café?",
] * 4


def byte_tokenizer(vocab_size: int = 384, template: str | None = CHATML) -> PreTrainedTokenizerFast:
    """A byte-level BPE: every text round-trips, special tokens are <|im_start|> and <|im_end|>."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 5,
        special_tokens=[],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_CORPUS, trainer)
    backend.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    backend.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = template
    return tokenizer


def metaspace_tokenizer(template: str | None = GEMMA, scheme: str = "always") -> PreTrainedTokenizerFast:
    """SentencePiece-like: spaces as U+2581, byte fallback; `scheme`: which text gets a leading space."""
    vocab: dict[str, int] = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3}
    for byte in range(256):
        vocab[f"<0x{byte:02X}>"] = len(vocab)
    merges: list[tuple[str, str]] = []
    for char in "▁" + "".join(chr(c) for c in range(33, 127)) + "éàßöü":
        vocab[char] = len(vocab)
    pairs = "t h, th e, ▁ the, a n, an d, ▁ and, ▁ a, i n, in g, ▁ ▁, e r, o u"
    for left, right in (pair.split(" ") for pair in pairs.split(", ")):
        vocab[left + right] = len(vocab)
        merges.append((left, right))
    backend = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if scheme == "legacy":
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    strip = [decoders.Strip(" ", 1, 0)] if scheme != "never" else []
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    backend.add_special_tokens(["<pad>", "<s>", "</s>", "<unk>"])
    backend.add_tokens([AddedToken(t, normalized=False) for t in ("<start_of_turn>", "<end_of_turn>")])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    tokenizer.chat_template = template
    return tokenizer


def build_styled(
    folder: Path, family: str = "llama", *, style: Style | None = None, chat: bool = True, **options: Any
) -> Path:
    """`build` with a tokenizer by name: Gemma gets the SentencePiece-like one, the others bytes; or `style`."""
    style = style or ("metaspace" if family.startswith("gemma") else "bytes")
    tokenizer = metaspace_tokenizer() if style == "metaspace" else byte_tokenizer()
    if not chat:
        tokenizer.chat_template = None
    return build(folder, family, tokenizer=tokenizer, **options)


def copy_model(source: Path, target: Path) -> Path:
    """A copy of a model folder that a test may damage."""
    return Path(shutil.copytree(source, target))


def build(
    folder: Path,
    family: str = "llama",
    *,
    tokenizer: Any = None,
    seed: int = 0,
    max_shard_size: str = "5GB",
    **overrides: Any,
) -> Path:
    """Save a tiny random model of a family with its tokenizer; `overrides` go into its config. Returns the folder."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = tokenizer or byte_tokenizer()
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 4096,
        "initializer_range": 0.15,  # wide enough that greedy answers differ from prompt to prompt
        "tie_word_embeddings": False,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if family.startswith("phi"):
        del settings["head_dim"]  # these derive it
    settings |= FAMILIES[family] | overrides
    torch.manual_seed(seed)
    config = AutoConfig.for_model(settings.pop("model_type", family), **settings)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    if config.tie_word_embeddings:
        _outweigh_embedding(model)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    tokenizer.save_pretrained(folder)
    return folder


def _outweigh_embedding(model: Any) -> None:
    """Scale what the layers add: a tied head would only repeat the last token."""
    for name, weight in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weight.data *= 8
        elif name.endswith("post_feedforward_layernorm.weight"):  # Gemma 2 and 3 normalise what is added
            weight.data += 8


FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen3": {},
    "qwen2": {},
    "gemma": {"tie_word_embeddings": True},
    "gemma2": {"tie_word_embeddings": True, "sliding_window": 32, "query_pre_attn_scalar": 16},
    "gemma3": {
        "model_type": "gemma3_text",
        "tie_word_embeddings": True,
        "sliding_window": 32,
        "query_pre_attn_scalar": 16,
    },
    "mistral": {"sliding_window": 32},
    "phi": {"num_key_value_heads": 4},
    "phi3": {},
    "smollm3": {"no_rope_layer_interval": 2},
}
