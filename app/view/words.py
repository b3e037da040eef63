"""Sentences of the page that stand still, in one place: a translation begins here."""

SCOPE = (
    "The system prompt, sampling, drafting and all else below “Sampling” and “Answer” hold for this chat alone. "
    "Model, colours and presets hold for all chats."
)
DEFAULTS_KEPT = "New chats begin with the settings of this chat from now on."
DEFAULTS_RESET = "This chat and new ones take the model's own sampling, and no system prompt."

SPEED = "tokens/s"
SPEED_TIP = "Tokens that the model writes in a second; a token is a short word or a part of one."
SPEEDUP = "times as fast"
SPEEDUP_TIP = (
    "How much faster this is than writing one token at a time, with the same words. “est.”: estimated from the time of "
    "one token on this machine; Compare measures it."
)
PER_ROUND = "tokens per round"
PER_ROUND_TIP = "Tokens gained in a round, which is one run of the model; without drafting it is always one."
DRAFT = "tokens guessed ahead"
DRAFT_TIP = "Tokens that are guessed before each run of the model, which keeps only those that it would have written."
DRAFTING_TIP = "Guesses the next words and lets the model check them: the same answer, sooner where text repeats."
COMPARE_TIP = "Answers the message twice, with drafting and without, side by side under one clock."
CONTEXT_TIP = "How much of what the model can read at once this chat takes; beyond it the oldest messages are left out."
CONTEXT_TIP_SERVER = (
    "How much of what the model can read at once this chat takes; the server is sent all of it, also what is beyond."
)
ORIGINS = "Sources"
ORIGINS_TIP = (
    "Shows each answer as its exact text, tinted by where guesses of its words came from; hold the pointer over them "
    "to see more."
)
REPORT = "Speed report"
REPORT_TIP = "What drafting has brought in this chat and in all: time, words, and where it paused."
MEMORY = "Memory"
MEMORY_TIP = (
    "What other chats said, for guessing the next words; the model does not read it. Look into it, forget, export or "
    "import it."
)

TITLES_INFO = (
    "A few seconds after the first answer, while nobody asks for anything. Small models write poor ones: “by larger "
    "models” means from 1 billion parameters up. What you typed as a title stays."
)


def preset_saved(name: str) -> str:
    return f"“{name}” holds this system prompt and sampling."


def preset_used(name: str) -> str:
    return f"“{name}” holds for this chat, from the next answer on."
