"""The empty chat: what this is, four prompts that the loaded model can do, and one where drafting does not help.

A page holds the words for every kind of model; `assets/css/frame.css` shows those of the kind that the header names,
since Gradio draws the empty chat anew whenever it likes.
"""

import html
from dataclasses import dataclass

from app.texts import marked, tr
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


def _small_chat() -> tuple[Suggestion, ...]:
    return (
        Suggestion(tr("welcome.repeat"), tr("welcome.repeat_why"), f"Repeat this text word for word:\n\n{_REPEAT}"),
        Suggestion(
            tr("welcome.ask"), tr("welcome.ask_why"), f"Here is a text: {_TEXT}\n\nWhen does the first train leave?"
        ),
        Suggestion(
            tr("welcome.shorten"),
            tr("welcome.shorten_why"),
            "Summarise this text in one sentence: The old station wakes before the town. The first train leaves the "
            "station at five, and the last train comes back to the station at midnight. In between, thousands of "
            "people pass through its doors.",
        ),
        Suggestion(
            tr("welcome.function"),
            tr("welcome.function_why"),
            "Write a Python function that returns the largest number in a list.",
        ),
        Suggestion(tr("welcome.question"), tr("welcome.question_why"), "What is the capital of France?", shines=False),
    )


def _edits() -> tuple[Suggestion, ...]:
    return (
        Suggestion(tr("welcome.repeat"), tr("welcome.repeat_why"), f"Repeat this text: {_REPEAT}"),
        Suggestion(
            tr("welcome.rename"),
            tr("welcome.rename_why"),
            "Rename the variable `total` to `amount`:\n\n"
            "```python\ndef send_invoice(total, price):\n    if total > price:\n        total = total - price\n"
            "    print(total)\n    return total\n```",
        ),
        Suggestion(
            tr("welcome.json"),
            tr("welcome.json_why"),
            "Convert this to JSON:\n\nname, city\nAnna, Oslo\nBen, Rome\nClara, Paris",
        ),
        Suggestion(
            tr("welcome.table"),
            tr("welcome.table_why"),
            "Convert this to a markdown table:\n\n"
            "name, city, year\nAnna, Oslo, 1984\nBen, Rome, 1991\nClara, Paris, 1979",
        ),
        Suggestion(tr("welcome.question"), tr("welcome.question_why"), "What is drafting?", shines=False),
    )


def _sets() -> tuple[tuple[tuple[Suggestion, ...], tuple[str, ...]], ...]:
    """The prompts, and for which kinds of model they are shown."""
    return ((_small_chat(), (SMOLLM2,)), (_edits(), (STARTER, OTHER)))


def suggestions() -> tuple[Suggestion, ...]:
    """All prompts, in the page's order. What the models are asked is English: the small ones know nothing else."""
    return tuple(suggestion for prompts, _ in _sets() for suggestion in prompts)


def kind_of(model: str | None) -> str:
    """Whose words the empty chat shows, by the name of the model that is loaded or being loaded."""
    return SMOLLM2 if model is None else model if model in _CLASSES else OTHER


def _for(kinds: tuple[str, ...]) -> str:
    return " ".join(_CLASSES[kind] for kind in kinds)


def _button(suggestion: Suggestion) -> str:
    kind = "shines" if suggestion.shines else "against"
    title, why = html.escape(suggestion.title), html.escape(suggestion.why)
    return f'<button type="button" class="{kind}"><b>{title}</b><span>{why}</span></button>'


def _feet() -> dict[str, str]:
    get, model = f"<b>{html.escape(tr('get.title'))}</b>", f"<b>{html.escape(tr('model.title'))}</b>"
    better = marked("welcome.better", get=get, model=model)
    return {
        SMOLLM2: f"{marked('welcome.smollm2')} {better}",
        STARTER: f"{marked('welcome.starter')} {better}",
        OTHER: marked("welcome.other", name='<span class="model-name"></span>', model=model),
    }


def welcome() -> str:
    """The empty chat's markup."""
    prompts = "".join(
        f'<div class="prompts {_for(kinds)}">{"".join(map(_button, part))}</div>' for part, kinds in _sets()
    )
    feet = "".join(f'<p class="foot {_for((kind,))}">{text}</p>' for kind, text in _feet().items())
    best = marked("welcome.download", model='<span class="best-model"></span>')
    return f"""
<div class="welcome">
<h2>{marked("welcome.heading")}</h2>
<p>{marked("welcome.what")} <span class="try">{marked("welcome.try")}</span></p>
{prompts}
<p class="best"><button type="button">{best}</button></p>
{feet}
</div>
"""
