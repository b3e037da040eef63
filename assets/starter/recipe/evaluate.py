"""Measure the shipped folder: exact answers per task family, perplexity of conversation, long copying, samples.

    python evaluate.py --model FOLDER --conversations chat.jsonl.gz --json figures.json

Greedy decoding gives exactly the answer if, and only if, each of its tokens and the end token is the likeliest
after the true ones before it; so one forward pass per batch tells what generation would, token by token.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from pathlib import Path

import numpy as np
import torch
from conversations import encode, read_conversations, split
from copying import CopyCurriculum
from model import PAD_ID, VOCAB_SIZE
from tasks import FAMILIES, Task, make_task
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

SEED = 7
SAMPLE_PROMPTS = (
    "Hello",
    "What is Slipstream?",
    "How does drafting work?",
    "Where are my conversations stored?",
    "Repeat this text:\n\nThe ferry to Marlow leaves at 7:45 from pier 12, and the last one returns at 22:10.",
    "Rename the variable total to amount_due:\n\n"
    "def add_tax(total, rate):\n    tax = total * rate\n    return total + tax",
    "Turn this into a numbered list:\n\napples, pears, oat milk, dark bread",
    "Convert this to JSON:\n\nname: Wilma Krantz\ncity: Tampere\nphone: 555-0182",
    'Fix the typo "recieved" (should be "received"):\n\nWe recieved your letter on Monday.',
    "Write this in upper case:\n\nthe meeting starts at noon",
    "Tell me a short story.",
    "What is the capital of France?",
    "What is 17 times 23?",
    "Write a haiku about rain.",
    "Who won the match yesterday?",
)


def answer_hits(model: LlamaForCausalLM, tokenizer: Tokenizer, tasks: list[Task]) -> list[tuple[int, int]]:
    """Return for each task how many of its last answer's tokens are the greedy choice, and how many there are."""
    encoded = [encode(tokenizer, task.messages, 0.0, last_only=True) for task in tasks]
    results: list[tuple[int, int]] = []
    for start in range(0, len(encoded), 32):
        chunk = encoded[start : start + 32]
        width = max(len(ids) for ids, _ in chunk)
        # Padding on the right changes nothing before it: attention is causal.
        ids = torch.tensor([row + [PAD_ID] * (width - len(row)) for row, _ in chunk])
        is_answer = torch.tensor([row + [0.0] * (width - len(row)) for _, row in chunk])[:, 1:] > 0
        with torch.inference_mode():
            greedy = model(input_ids=ids[:, :-1]).logits.argmax(-1)
        right = ((greedy == ids[:, 1:]) & is_answer).sum(1)
        results += list(zip(right.tolist(), is_answer.sum(1).tolist(), strict=True))
    return results


def task_figures(model: LlamaForCausalLM, tokenizer: Tokenizer, per_family: int) -> dict[str, dict[str, float]]:
    """Return per family the share of exact answers and of right tokens, held-out wordings and words, sizes 1-5."""
    rng = random.Random(SEED)
    figures: dict[str, dict[str, float]] = {}
    for family in (*FAMILIES, "second turn"):
        tasks = [draw(rng, family, 1 + index % 5) for index in range(per_family)]
        hits = answer_hits(model, tokenizer, tasks)
        figures[family] = {
            "exact": sum(right == total for right, total in hits) / len(hits),
            "tokens": sum(right for right, _ in hits) / sum(total for _, total in hits),
        }
    return figures


def draw(rng: random.Random, family: str, size: int) -> Task:
    """Return a held-out task of one turn, or, for "second turn", of any family with two."""
    if family != "second turn":
        return make_task(rng, family, size, held_out=True, turns=1)
    while True:
        task = make_task(rng, None, size, held_out=True, turns=2)
        if len(task.messages) == 4:
            return task


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


def samples(model: LlamaForCausalLM, folder: Path) -> list[tuple[str, str]]:
    """Return the prompts with the greedy answers, the end token shown, at most 200 tokens."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    answers = []
    for prompt in SAMPLE_PROMPTS:
        messages = [{"role": "user", "content": prompt}]
        inputs = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        output = model.generate(**inputs, max_new_tokens=200, do_sample=False)
        answers.append((prompt, tokenizer.decode(output[0, inputs["input_ids"].shape[1] :])))
    return answers


def main() -> None:
    """Evaluate and print; write the figures as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--conversations", type=Path)
    parser.add_argument("--per-family", type=int, default=200)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--no-samples", action="store_true")
    args = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(args.model).eval()
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    figures: dict[str, object] = {"tasks": task_figures(model, tokenizer, args.per_family)}
    figures["copying"] = copy_figures(model)
    if args.conversations:
        figures["conversation"] = conversation_figures(model, tokenizer, args.conversations, 300)
    for family, values in figures["tasks"].items():
        print(f"{family:16} exact {values['exact']:.3f} tokens {values['tokens']:.4f}")
    print(figures["copying"], figures.get("conversation"))
    if not args.no_samples:
        figures["samples"] = samples(model, args.model)
        for prompt, answer in figures["samples"]:
            print(f"--- {prompt}\n>>> {answer}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
