"""Sentences of the page that stand still, in one place: a translation begins here."""

SCOPE = (
    "The system prompt, sampling, drafting and all else below “Sampling” and “Answer” hold for this chat alone. "
    "Model, colours and presets hold for all chats."
)
DEFAULTS_KEPT = "New chats begin with the settings of this chat from now on."
DEFAULTS_RESET = "This chat and new ones take the model's own sampling, and no system prompt."


def preset_saved(name: str) -> str:
    return f"“{name}” holds this system prompt and sampling."


def preset_used(name: str) -> str:
    return f"“{name}” holds for this chat, from the next answer on."
