"""The card of a pack: what it is, what it learned from, what it was measured to bring, and its limits."""

from collections.abc import Mapping
from typing import Any

from engine.trained.pack import EVALUATION, HEAD, Pack

NAME = "README.md"
_WAYS = {
    "alone": "heads alone",
    "local": "heads, with n-grams of the answers",
    "neural": "heads, with a small language model",
    "markov": "heads, with the Markov term, as they are used",
    "oracle": "the best path of the heads' lattice",
    "chimera": "Chimera",
}


def card_of(pack: Pack, figures: Mapping[str, Any], *, model: str, prompts: str) -> str:
    """The card of a pack for a model; `prompts` says what was asked."""
    config = pack.config
    learned = {
        name: sum(value.numel() for each, value in pack.part(name).items() if each != HEAD) for name in config.parts
    }
    parts = ", ".join(f"{name} ({count:,} learned numbers)" for name, count in learned.items())
    rows = "\n".join(
        f"| {words} | {_number(figures[way]['tokens_per_round'])} | {_percent(figures[way]['repeats'])} | "
        f"{' '.join(f'{share:.2f}' for share in figures[way]['top1'])} |"
        for way, words in _WAYS.items()
        if way in figures
    )
    return f"""# A drafter for {model}

Trained by `train-drafter`. It proposes tokens that the model then checks, so it changes no answer, whatever it says.

- Parts: {parts}; and {config.draft_vocab:,} rows of the model's own head, the tokens that can be drafted.
- Learned from: {figures["tokens"]:,} tokens of {figures["answers"]:,} answers of the model itself to {prompts}, half of
  the batches greedily, half at a temperature of 0.8. Of twenty prompts one calibrates and one evaluates.
- Licence: that of the model, whose answers and head it is made of, and of the prompts.

On {figures["evaluated_on"]}, as chains without any other source of drafts:

| draft | tokens per round | neighbours that repeat | right, by place |
|---|---|---|---|
{rows}

Limits: it serves the weights that are named in config.json by their digest; for others it is right less often, and for
another tokenizer or size it is refused. Where a round of several tokens costs much more than one of a single token, it
seldom pays, and rests by itself. All figures are in {EVALUATION}; `bench trained` measures more.
"""


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"
