"""The empty chat: what this is, four prompts that the loaded model can do, and one where drafting does not help.

A page holds the words for every kind of model; `assets/css/frame.css` shows those of the kind that the header names,
since Gradio draws the empty chat anew whenever it likes.
"""

import html
from dataclasses import dataclass

from engine.config import SMOLLM2, STARTER

OTHER = "other"  # a model that a person chose
_CLASSES = {SMOLLM2: "for-smollm2", STARTER: "for-starter", OTHER: "for-other"}  # as frame.css names them


@dataclass(frozen=True, slots=True)
class Suggestion:
    title: str
    why: str
    prompt: str
    shines: bool = True


_REPEAT = (
    "The old station wakes before the town. The first train leaves the station at five, and the last train comes back "
    "to the station at night."
)
_TEXT = (
    "The old station wakes before the town. The first train leaves at five in the morning, and the last train comes "
    "back at midnight."
)
_SMALL_CHAT = (
    Suggestion(
        "Repeat a text",
        "Every token is already in the prompt.",
        f"Repeat this text word for word:\n\n{_REPEAT}",
    ),
    Suggestion(
        "Ask about a text",
        "The answer quotes what it is about.",
        f"Here is a text: {_TEXT}\n\nWhen does the first train leave?",
    ),
    Suggestion(
        "Shorten a text",
        "A summary borrows whole phrases.",
        "Summarise this text in one sentence: The old station wakes before the town. The first train leaves the "
        "station at five, and the last train comes back to the station at midnight. In between, thousands of people "
        "pass through its doors.",
    ),
    Suggestion(
        "Write a small function",
        "Names come back in the code, and in what is said about it.",
        "Write a Python function that returns the largest number in a list.",
    ),
    Suggestion(
        "And one where drafting does not help: a question",
        "Nothing repeats, so drafting pauses and costs next to nothing.",
        "What is the capital of France?",
        shines=False,
    ),
)
_EDITS = (
    Suggestion("Repeat a text", "Every token is already in the prompt.", f"Repeat this text: {_REPEAT}"),
    Suggestion(
        "Rename a variable in a function",
        "Code edits copy most of their input.",
        "Rename the variable `total` to `amount`:\n\n"
        "```python\ndef send_invoice(total, price):\n    if total > price:\n        total = total - price\n"
        "    print(total)\n    return total\n```",
    ),
    Suggestion(
        "Lines to JSON",
        "The same keys come back in every entry.",
        "Convert this to JSON:\n\nname, city\nAnna, Oslo\nBen, Rome\nClara, Paris",
    ),
    Suggestion(
        "Lines to a table",
        "Rows share a pattern, and cells come from the prompt.",
        "Convert this to a markdown table:\n\nname, city, year\nAnna, Oslo, 1984\nBen, Rome, 1991\nClara, Paris, 1979",
    ),
    Suggestion(
        "And one where drafting does not help: a question",
        "Nothing repeats, so drafting pauses and costs next to nothing.",
        "What is drafting?",
        shines=False,
    ),
)
_SETS = ((_SMALL_CHAT, (SMOLLM2,)), (_EDITS, (STARTER, OTHER)))
SUGGESTIONS = tuple(suggestion for suggestions, _ in _SETS for suggestion in suggestions)  # in the page's order
_BETTER = (
    "Under <b>Get a model</b> you can download a better one, and under <b>Model</b> load what other programs keep on "
    "this disk, a folder, a GGUF file or a Hub id. Nothing you write leaves this machine."
)
_FEET = {
    SMOLLM2: "SmolLM2 135M (by Hugging Face, Apache-2.0; packaged by Simon Willison) comes with the application, "
    "and with an adapter of ours for work on pasted text. It is a very small model: it chats in English, and much of "
    f"what it says is wrong. {_BETTER}",
    STARTER: "The starter model is a small demonstration: it repeats and reshapes text, and knows little else. "
    f"{_BETTER}",
    OTHER: '<span class="model-name"></span> is the model that answers here. Under <b>Model</b> you can load another. '
    "Nothing you write leaves this machine.",
}


def kind_of(model: str | None) -> str:
    """Whose words the empty chat shows, by the name of the model that is loaded or being loaded."""
    return SMOLLM2 if model is None else model if model in _FEET else OTHER


def _for(kinds: tuple[str, ...]) -> str:
    return " ".join(_CLASSES[kind] for kind in kinds)


def _button(suggestion: Suggestion) -> str:
    kind = "shines" if suggestion.shines else "against"
    title, why = html.escape(suggestion.title), html.escape(suggestion.why)
    return f'<button type="button" class="{kind}"><b>{title}</b><span>{why}</span></button>'


_PROMPTS = "".join(f'<div class="prompts {_for(kinds)}">{"".join(map(_button, part))}</div>' for part, kinds in _SETS)
_FOOT = "".join(f'<p class="foot {_for((kind,))}">{text}</p>' for kind, text in _FEET.items())

WELCOME = f"""
<div class="welcome">
<h2>Faster where text repeats, and never a different word</h2>
<p>Slipstream drafts ahead of the model with what the conversation already contains. The model checks each draft and
keeps only what it would have written itself. <span class="try">Try one of these and watch the meters:</span></p>
{_PROMPTS}
<p class="best"><button type="button">Download <span class="best-model"></span></button></p>
{_FOOT}
</div>
"""
