"""The empty chat: what this is, four prompts where drafting shines, and one where it does not."""

import html
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Suggestion:
    title: str
    why: str
    prompt: str
    shines: bool = True


SUGGESTIONS = (
    Suggestion(
        "Repeat a text",
        "Every token was in the prompt already.",
        "Repeat this text: The old station wakes before the town. The first train leaves the station at five, and the "
        "last train comes back to the station at night.",
    ),
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
        "Rows share their pattern, cells come from the prompt.",
        "Convert this to a markdown table:\n\nname, city, year\nAnna, Oslo, 1984\nBen, Rome, 1991\nClara, Paris, 1979",
    ),
    Suggestion(
        "And one where it does not: a question",
        "Nothing repeats, so drafting pauses and costs nothing.",
        "What is drafting?",
        shines=False,
    ),
)


def _button(suggestion: Suggestion) -> str:
    kind = "shines" if suggestion.shines else "against"
    title, why = html.escape(suggestion.title), html.escape(suggestion.why)
    return f'<button type="button" class="{kind}"><b>{title}</b><span>{why}</span></button>'


WELCOME = f"""
<div class="welcome">
<h2>Faster where text repeats, and never a different word</h2>
<p>Slipstream drafts ahead of the model with what the conversation already contains. The model checks each draft and
keeps only what it would have written itself. Try one of these and watch the meters:</p>
<div class="prompts">{"".join(map(_button, SUGGESTIONS))}</div>
<p class="foot">The starter model is a small demonstration: it repeats and reshapes text, and knows little else.
Under <b>Model</b> you can load a better one, from a folder or by its Hub id. Nothing you write leaves this machine.</p>
</div>
"""
