"""Train the starter model: copying first, then short tasks, then tasks of all lengths mixed with conversation.

    python train.py --run RUN_FOLDER --conversations chat.jsonl.gz

Resumes from RUN_FOLDER/checkpoint.pt whenever it is there. The schedule counts tokens, and its last quarter
lowers the learning rate; `--decay-tokens` begins to lower it at once, over so many tokens, and then ends.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from conversations import ConversationSource, read_conversations, sentences_of, split
from copying import CopyCurriculum
from model import VOCAB_SIZE, build_model
from packing import Batches, Phase
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import LlamaForCausalLM

SEED = 20
PEAK_LR = 3e-3
WARMUP_STEPS = 30
WEIGHT_DECAY = 0.05
CHECKPOINT_EVERY_S = 120.0
PICKED_SHARE = 0.5
REPORT_EVERY = 25  # steps


SCHEDULE = (
    Phase("copy", 2_600_000, 256, 16, 1.0, 0.0, 0),
    Phase("short tasks", 1_600_000, 256, 20, 0.2, 0.7, 2),
    Phase("tasks", 2_500_000, 512, 12, 0.12, 0.65, 5),
    Phase("mix", 61_500_000, 256, 24, 0.05, 0.87, 3, long_every=5),
)
TOTAL_TOKENS = sum(phase.num_tokens for phase in SCHEDULE)


@dataclass(slots=True)
class Progress:
    """What a checkpoint remembers besides weights and optimiser."""

    step: int = 0
    num_tokens: int = 0
    train_s: float = 0.0
    started_step: int = 0
    decay_from: int = TOTAL_TOKENS * 3 // 4
    decay_tokens: int = TOTAL_TOKENS // 4

    @property
    def is_over(self) -> bool:
        """Say whether the learning rate has fallen to nothing."""
        return self.num_tokens >= self.decay_from + self.decay_tokens


def build_optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices inside the blocks and AdamW for embeddings and norms."""
    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in named if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def phase_at(num_tokens: int) -> Phase:
    """Return the phase that the run is in after `num_tokens`; the last one has no end of its own."""
    for phase in SCHEDULE:
        num_tokens -= phase.num_tokens
        if num_tokens < 0:
            return phase
    return SCHEDULE[-1]


def build_batches(args: argparse.Namespace, copying: CopyCurriculum) -> Batches:
    """Return the batch source, with the data that the command line names."""
    if args.conversations is None:
        return Batches(copying)
    training, _ = split(read_conversations(args.conversations))
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    return Batches(copying, tokenizer, ConversationSource(training), sentences_of(training))


def weighted_loss(
    model: LlamaForCausalLM, ids: torch.Tensor, weights: torch.Tensor, picked: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weighted loss over the picked positions, and for each whether the greedy token is right."""
    labels, chosen = ids[:, 1:].flatten()[picked], weights[:, 1:].flatten()[picked]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
        logits = model.lm_head(hidden.flatten(0, 1)[picked])
    losses = functional.cross_entropy(logits.float(), labels, reduction="none")
    return (losses * chosen).sum() / chosen.sum(), logits.detach().argmax(-1) == labels


def pick_positions(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a fixed number of flat positions, those with a weight first: one shape means one compilation."""
    flat = weights[:, 1:].ravel()
    order = np.concatenate([rng.permutation(np.flatnonzero(flat)), np.flatnonzero(flat == 0)])
    return np.sort(order[: int(PICKED_SHARE * flat.size)])


def lr_factor(progress: Progress) -> float:
    """Return warm-up since the last start, then 1, then a linear fall to 0 over `decay_tokens`."""
    warm = min(1.0, (progress.step - progress.started_step + 1) / WARMUP_STEPS)
    fallen = (progress.num_tokens - progress.decay_from) / progress.decay_tokens
    return max(0.0, min(warm, 1 - fallen))


def mean_of_known(values: tuple[float, ...]) -> float:
    """Return the mean of what is no NaN; NaN where nothing is."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


class Trainer:
    """Holds what a run changes: weights, optimisers, progress and the copy curriculum."""

    def __init__(self, checkpoint: Path) -> None:
        torch.manual_seed(SEED)
        self.checkpoint = checkpoint
        self.model = build_model()
        self.optimizers = build_optimizers(self.model)
        self.progress = Progress()
        self.copying = CopyCurriculum(VOCAB_SIZE, SEED)
        self.loss = torch.compile(weighted_loss, dynamic=False)
        if checkpoint.exists():
            self.load()

    def load(self) -> None:
        """Go on from the checkpoint."""
        state = torch.load(self.checkpoint, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.progress, self.copying = Progress(**state["progress"]), CopyCurriculum(**state["copying"])

    def save(self) -> None:
        """Write a checkpoint beside its place, then move it in, so that a killed run leaves a whole one."""
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "progress": asdict(self.progress),
            "copying": asdict(self.copying),
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.checkpoint)

    def step(self, batches: Batches, phase: Phase, lr: float) -> tuple[float, float, float]:
        """Take one optimiser step; return its loss, and the shares of right tokens in copying and in text."""
        step_start = time.monotonic()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
        # A generator of its own for every step makes a resumed run draw what an unbroken one would.
        ids, weights, num_copy = batches.draw(phase, np.random.default_rng([SEED, self.progress.step]))
        picked = pick_positions(weights, np.random.default_rng(self.progress.step))
        loss, hits = self.loss(self.model, *(torch.from_numpy(array) for array in (ids, weights, picked)))
        loss.backward()
        chosen = weights[:, 1:].ravel()[picked] > 0
        in_copy = chosen & (picked < num_copy * (ids.shape[1] - 1))
        copied, said = hits.numpy()[in_copy], hits.numpy()[chosen & ~in_copy]
        accuracy = float(copied.mean()) if copied.size else math.nan
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if num_copy:
            self.copying.record(accuracy, phase.seq_len)
        self.progress.step += 1
        self.progress.num_tokens += weights[:, 1:].size
        self.progress.train_s += time.monotonic() - step_start
        return loss.item(), accuracy, float(said.mean()) if said.size else math.nan

    def report(self, phase: Phase, window: list[tuple[float, float, float]], lr: float) -> None:
        """Print one line over the last steps."""
        loss, accuracy, task = (mean_of_known(values) for values in zip(*window, strict=True))
        progress, copying = self.progress, self.copying
        print(
            f"{time.strftime('%H:%M:%S')} {phase.name}: step {progress.step}, {progress.num_tokens / 1e6:.2f}M tokens, "
            f"loss {loss:.3f}, right {task:.4f}, copying {accuracy:.3f} of {copying.alphabet} "
            f"up to {copying.max_length}, lr {lr:.1e}, {progress.num_tokens / progress.train_s:.0f} tokens/s",
            flush=True,
        )


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of checkpoint and log")
    parser.add_argument("--conversations", type=Path, help="chat.jsonl.gz; needed after the copy phase")
    parser.add_argument("--tokenizer", type=Path, default=Path(__file__).parents[1] / "tokenizer.json")
    parser.add_argument("--lr", type=float, default=PEAK_LR)
    parser.add_argument("--decay-tokens", type=int, default=0, help="lower the learning rate from here on")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    """Run or resume the schedule; SIGTERM ends it with a checkpoint."""
    args = parse_args()
    args.run.mkdir(parents=True, exist_ok=True)
    (args.run / "pid").write_text(str(os.getpid()))
    torch.set_num_threads(args.threads)
    trainer = Trainer(args.run / "checkpoint.pt")
    progress = trainer.progress
    progress.started_step = progress.step
    if args.decay_tokens:
        progress.decay_from, progress.decay_tokens = progress.num_tokens, args.decay_tokens
    batches = build_batches(args, trainer.copying)
    asked_to_stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked_to_stop.append(number))
    saved_at = time.monotonic()
    window: list[tuple[float, float, float]] = []
    while not asked_to_stop and not progress.is_over:
        phase = phase_at(progress.num_tokens)
        lr = args.lr * lr_factor(progress)
        window.append(trainer.step(batches, phase, lr))
        if len(window) == REPORT_EVERY:
            trainer.report(phase, window, lr)
            window.clear()
        if time.monotonic() - saved_at > CHECKPOINT_EVERY_S:
            trainer.save()
            saved_at = time.monotonic()
    trainer.save()


if __name__ == "__main__":
    main()
