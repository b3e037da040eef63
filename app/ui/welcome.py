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
        "Repeat a text with one change",
        "Almost every token was in the prompt already.",
        "Repeat this text, but replace every “harbor” with “station”:\n\n"
        "The old harbor wakes before the town. At five the first boats leave the harbor, and the gulls follow them "
        "out. By noon the harbor is quiet again, nets drying along the wall. In the evening the lamps of the harbor "
        "go on, one after another, and the boats come home to the harbor with what the day has given them.",
    ),
    Suggestion(
        "A list to JSON",
        "The same keys come back in every entry.",
        "Turn this list into JSON with the keys name, city and year:\n\n"
        "- Ada Moreno, Lisbon, 1984\n- Ben Okafor, Lagos, 1991\n- Clara Lindqvist, Malmö, 1979\n"
        "- Deepak Rao, Pune, 1988\n- Elif Demir, Izmir, 1995\n- Farid Haddad, Amman, 1982",
    ),
    Suggestion(
        "Rename a variable in a function",
        "Code edits copy most of their input.",
        "Rename the variable `total` to `amount` in this function and show the whole function:\n\n"
        "```python\ndef invoice(items, tax_rate):\n    total = 0\n    for item in items:\n"
        "        total += item.price * item.count\n    if total > 100:\n        total -= 5\n"
        "    total += total * tax_rate\n    print('total:', total)\n    return total\n```",
    ),
    Suggestion(
        "A list to a table",
        "Rows share their pattern, cells come from the prompt.",
        "Make a Markdown table with the columns Planet, Moons and Day:\n\n"
        "- Mars: 2 moons, a day of 24.6 hours\n- Jupiter: 95 moons, a day of 9.9 hours\n"
        "- Saturn: 146 moons, a day of 10.7 hours\n- Uranus: 28 moons, a day of 17.2 hours\n"
        "- Neptune: 16 moons, a day of 16.1 hours",
    ),
    Suggestion(
        "And one where it does not: a short story",
        "Nothing repeats, so drafting pauses and costs nothing.",
        "Write a short story about a lighthouse keeper who finds a letter in a bottle.",
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
