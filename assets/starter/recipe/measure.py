"""Measure what no exact answer tells: perplexity of held-out conversation, and copying over long distances.

Works on logits in one forward pass per text. Knows nothing of the application.
"""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import torch
from conversations import encode, read_conversations, split
from copying import CopyCurriculum
from model import VOCAB_SIZE
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

SEED = 7


def conversation_figures(model: LlamaForCausalLM, tokenizer: Tokenizer, path: Path, limit: int) -> dict[str, float]:
    """Return the perplexity per token and the bits per character of held-out assistants' turns."""
    _, held_out = split(read_conversations(path))
    held_out = random.Random(SEED).sample(held_out, min(limit, len(held_out)))
    loss_sum, num_tokens, num_chars = 0.0, 0, 0
    for conversation in held_out:
        ids, weights = encode(tokenizer, conversation.messages, 0.0)
        ids, weights = ids[:2048], weights[:2048]
        selected = torch.tensor(weights[1:]) > 0
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids[:-1]])).logits[0].float()
        losses = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")[selected]
        loss_sum += losses.sum().item()
        num_tokens += len(losses)
        num_chars += len(tokenizer.decode([i for i, chosen in zip(ids[1:], selected, strict=True) if chosen]))
    mean = loss_sum / num_tokens
    bits_per_char = loss_sum / math.log(2) / num_chars
    return {"perplexity": math.exp(mean), "bits_per_char": bits_per_char, "num_conversations": len(held_out)}


def copy_figures(model: LlamaForCausalLM) -> dict[str, float]:
    """Return the accuracy of copying random tokens over a distance of 100, 300, 600 and 1000."""
    figures: dict[str, float] = {}
    order = CopyCurriculum(VOCAB_SIZE, SEED).order()
    rng = np.random.default_rng(SEED)
    for distance in (100, 300, 600, 1000):
        segments = order[rng.integers(0, len(order), (8, distance))]
        ids = torch.from_numpy(np.concatenate([segments, segments], axis=1))
        with torch.inference_mode():
            greedy = model(input_ids=ids[:, :-1]).logits.argmax(-1)
        figures[str(distance)] = (greedy[:, distance:] == ids[:, distance + 1 :]).float().mean().item()
    return figures
