"""Write down what SmolLM2 answers to the openings: half of them greedily, half at temperature 0.7.

    python own_answers.py --conversations chat.jsonl.gz --out own_answers.jsonl

Goes on where the file ends. An answer that was cut at the limit has `"ended": false`; one that goes in circles is left
out of the file.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from base import Base
from openings import openings

SEED = 11
BATCH = 48
LIMIT = 256  # tokens of an answer
CIRCLES = 0.35  # of all its 4-grams said before


def goes_in_circles(ids: list[int]) -> bool:
    """Say whether an answer repeats itself.

    >>> goes_in_circles([1, 2, 3, 4] * 9), goes_in_circles(list(range(36)))
    (True, False)
    """
    grams = [tuple(ids[i : i + 4]) for i in range(len(ids) - 3)]
    return len(grams) > 16 and 1 - len(set(grams)) / len(grams) > CIRCLES


@torch.inference_mode()
def answer(base: Base, texts: list[str], greedy: bool, seed: int) -> list[dict[str, object]]:
    """Return a record for each opening whose answer does not go in circles."""
    prompts = [base.render([{"role": "user", "content": text}], ask=True) for text in texts]
    base.tokenizer.padding_side = "left"
    inputs = base.tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False).to(base.device)
    torch.manual_seed(seed)
    how = {"do_sample": False} if greedy else {"do_sample": True, "temperature": 0.7, "top_p": 0.95, "top_k": 0}
    out = base.model.generate(**inputs, max_new_tokens=LIMIT, **how)[:, inputs.input_ids.shape[1] :]
    records = []
    end = base.tokenizer.eos_token_id
    for text, row in zip(texts, out.tolist(), strict=True):
        ids = row[: row.index(end)] if end in row else row
        if ids and not goes_in_circles(ids):
            said = base.tokenizer.decode(ids, skip_special_tokens=True)
            records.append({"opening": text, "answer": said, "ended": end in row, "greedy": greedy})
    return records


def main() -> None:
    """Answer all openings, a batch at a time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    base = Base.load(threads=args.threads)
    # Alike long ones together, so that little is padded; every batch has its own number and seed.
    texts = sorted(openings(args.conversations, SEED), key=lambda text: (len(text), text))
    batches = [texts[i : i + BATCH] for i in range(0, len(texts), BATCH)]
    mark = args.out.with_suffix(".next")  # the batch to go on with
    first = int(mark.read_text()) if mark.exists() else 0
    for number in range(first, len(batches)):
        began = time.monotonic()
        records = answer(base, batches[number], number % 2 == 0, SEED + number)
        with args.out.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        mark.write_text(str(number + 1))
        print(f"{number + 1} of {len(batches)}: {len(records)} kept, {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
