"""Train the adapter of SmolLM2-135M-Instruct on tasks, with its own answers mixed in.

    python train.py --run RUN_FOLDER [--own-answers own_answers.jsonl] [--conversations chat.jsonl.gz] [--tokens N]

Resumes from RUN_FOLDER/checkpoint.pt whenever it is there, and when all tokens are done writes RUN_FOLDER/adapter in
PEFT's format. SIGTERM and Ctrl-C end it with a checkpoint; SIGSTOP pauses it.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from base import Base
from conversations import read_conversations, sentences_of, split
from data import Document, Documents
from lora import add_adapters, export, load_state, state_of, without
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

SEED = 20
OWN_ANSWERS = Path(__file__).parent / "own_answers.jsonl.gz"
RANK, ALPHA = 16, 32.0
PEAK_LR = 1e-3
WARMUP_STEPS = 40
BATCH_TOKENS = 2048  # with padding
OWN_WORDS = 0.3  # weight of the words of own answers beside what the base model expects
FEW_LABELS = 300.0  # weight of a batch that counts in full
CHECKPOINT_EVERY_S = 120.0
REPORT_EVERY = 10  # steps
SHARE_ALIKE = ("schema-guided-dialogue", "databricks-dolly-15k", "topical-chat", "tinystories")


@dataclass(slots=True)
class Progress:
    """Where a run is: the next batch of a group of documents, and what it cost so far."""

    step: int = 0
    group: int = 0
    batch: int = 0
    num_tokens: int = 0
    train_s: float = 0.0


def collate(documents: list[Document], pad: int, device: torch.device) -> tuple[torch.Tensor, ...]:
    """Return ids, weights and the mask of what is no padding, (documents, longest)."""
    rows = (
        ([torch.tensor(each.ids) for each in documents], pad),
        ([torch.tensor(each.weights) for each in documents], 0.0),
        ([torch.ones(len(each.ids), dtype=torch.long) for each in documents], 0),
    )
    return tuple(pad_sequence(row, batch_first=True, padding_value=fill).to(device) for row, fill in rows)


def log_chances(model: torch.nn.Module, ids: torch.Tensor, mask: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Return the log-probabilities of the next token where `chosen` says so, (labels, vocabulary) in float32."""
    hidden = model.model(input_ids=ids[:, :-1], attention_mask=mask[:, :-1], use_cache=False).last_hidden_state
    return functional.log_softmax(model.lm_head(hidden[chosen]).float(), dim=-1)


class Trainer:
    """Holds what a run changes: the adapters, the optimiser and the progress."""

    def __init__(self, base: Base, run: Path, total: int) -> None:
        torch.manual_seed(SEED)
        self.base = base
        self.run = run
        self.total = total
        self.adapters = add_adapters(base.model, RANK, ALPHA)
        parameters = [parameter for parameter in base.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(parameters, lr=PEAK_LR, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
        self.parameters = parameters
        self.progress = Progress()
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True)
            load_state(self.adapters, state["adapters"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.progress = Progress(**state["progress"])

    @property
    def checkpoint(self) -> Path:
        return self.run / "checkpoint.pt"

    def save(self) -> None:
        """Write a checkpoint beside its place, then move it in, so that a killed run leaves a whole one."""
        state = {
            "adapters": state_of(self.adapters),
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress),
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.checkpoint)

    @property
    def lr(self) -> float:
        """Warm-up, then a cosine's fall to a twentieth, by tokens."""
        done = min(1.0, self.progress.num_tokens / self.total)
        warm = min(1.0, (self.progress.step + 1) / WARMUP_STEPS)
        return PEAK_LR * warm * (0.05 + 0.475 * (1 + math.cos(done * math.pi)))

    def loss(self, documents: list[Document]) -> torch.Tensor:
        """Return the weighted mean over the labels.

        Of a task it is the cross-entropy; of the model's own answer the divergence from what the base model expects at
        each token, so that it goes on chatting as it did (distillation from itself: arXiv 1503.02531), and a little
        cross-entropy of the words that it said.
        """
        pad = self.base.tokenizer.pad_token_id or 0
        total, num_labels = torch.zeros((), device=self.base.device), 0.0
        for is_own in (False, True):
            chosen = [each for each in documents if each.is_own == is_own]
            if not chosen:
                continue
            ids, weights, mask = collate(chosen, pad, self.base.device)
            labelled = weights[:, 1:] > 0
            logs = log_chances(self.base.model, ids, mask, labelled)
            losses = functional.nll_loss(logs, ids[:, 1:][labelled], reduction="none")
            if is_own:
                with torch.no_grad(), without(self.adapters):
                    expected = log_chances(self.base.model, ids, mask, labelled)
                diverged = functional.kl_div(logs, expected, reduction="none", log_target=True).sum(-1)
                losses = diverged + OWN_WORDS * losses
            total = total + (losses * weights[:, 1:][labelled]).sum()
            num_labels += float(weights.sum())
        return total / max(num_labels, FEW_LABELS)  # a batch of one short document is no full step

    def step(self, documents: list[Document]) -> float:
        """Take one optimiser step; return its loss."""
        began = time.monotonic()
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        loss = self.loss(documents)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1
        self.progress.num_tokens += sum(len(each.ids) for each in documents)
        self.progress.train_s += time.monotonic() - began
        return loss.item()


def main() -> None:
    """Run or resume."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--own-answers", type=Path, default=OWN_ANSWERS, help="as own_answers.py writes them")
    parser.add_argument("--conversations", type=Path, help="chat.jsonl.gz: sentences of its permissive part, for tasks")
    parser.add_argument("--tokens", type=int, default=1_500_000)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    args.run.mkdir(parents=True, exist_ok=True)
    (args.run / "pid").write_text(str(os.getpid()))
    base = Base.load(args.device, threads=args.threads)
    base.model.train()
    trainer = Trainer(base, args.run, args.tokens)
    sentences: tuple[str, ...] = ()
    if args.conversations:
        training, _ = split(read_conversations(args.conversations))
        sentences = sentences_of(each for each in training if each.source not in SHARE_ALIKE)
    documents = Documents(base, args.own_answers, sentences)
    asked_to_stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda given, _: asked_to_stop.append(given))
    saved_at, losses, progress = time.monotonic(), [], trainer.progress
    while not asked_to_stop and progress.num_tokens < args.tokens:
        batches = documents.batches(progress.group, BATCH_TOKENS)
        while progress.batch < len(batches) and not asked_to_stop:
            losses.append(trainer.step(batches[progress.batch]))
            progress.batch += 1
            if len(losses) == REPORT_EVERY:
                speed = progress.num_tokens / progress.train_s
                left = max(0, args.tokens - progress.num_tokens) / speed / 60
                print(
                    f"{time.strftime('%H:%M:%S')} step {progress.step}, {progress.num_tokens:,} tokens, loss "
                    f"{sum(losses) / len(losses):.3f}, lr {trainer.lr:.1e}, {speed:.0f} tokens/s, {left:.0f} min left",
                    flush=True,
                )
                losses.clear()
            if time.monotonic() - saved_at > CHECKPOINT_EVERY_S:
                trainer.save()
                saved_at = time.monotonic()
        if progress.batch == len(batches):
            progress.group, progress.batch = progress.group + 1, 0
    trainer.save()
    if progress.num_tokens >= args.tokens:
        export(trainer.adapters, args.run / "adapter", RANK, ALPHA, "HuggingFaceTB/SmolLM2-135M-Instruct")


if __name__ == "__main__":
    main()
