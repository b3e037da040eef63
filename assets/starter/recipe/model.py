"""The starter model's shape and its special tokens: what every other file of the recipe agrees on.

A Llama of 4.9 M parameters with tied embeddings. Knows nothing of data, training or files.
"""

from __future__ import annotations

from transformers import LlamaConfig, LlamaForCausalLM

PAD, END, TURN = "<|pad|>", "<|end|>", "<|turn|>"
SPECIAL_TOKENS = (PAD, END, TURN)
PAD_ID, END_ID, TURN_ID = range(3)
VOCAB_SIZE = 4096


def build_config() -> LlamaConfig:
    """Return the configuration of the shipped model."""
    return LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=256,
        intermediate_size=576,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=END_ID,
        pad_token_id=PAD_ID,
    )


def build_model() -> LlamaForCausalLM:
    """Return the model in fp32, initialised from torch's global seed."""
    return LlamaForCausalLM(build_config())
