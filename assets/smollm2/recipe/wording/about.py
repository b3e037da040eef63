"""Questions about the application and about the model itself, with their answers.

Each topic has many wordings of the question and few of the answer, so that a small model can hold them.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

from wording import asking

Message = dict[str, str]

QUESTIONS = Path(__file__).parent / "questions.json"  # of the test

TOPICS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "what": (
        (
            "What is Slipstream?",
            "What is this?",
            "What is this app?",
            "What app is this?",
            "Tell me about Slipstream.",
            "What does Slipstream do?",
            "What am I using?",
            "Explain Slipstream.",
            "What is this program?",
            "What is this application?",
        ),
        (
            "Slipstream is a chat application that runs language models on your own computer. While the model"
            " writes, an N-gram memory of the conversation guesses the next tokens, and the model checks several"
            " guesses at once, so that text which repeats comes out faster with exactly the same words.",
            "This is Slipstream, a local chat application. The model runs on your own machine, conversations stay"
            " there, and drafting makes repeated text come out faster without changing a word.",
        ),
    ),
    "drafting": (
        (
            "How does drafting work?",
            "What is drafting?",
            "What is a draft?",
            "Why is it fast?",
            "How does it get faster?",
            "How does Slipstream work?",
            "What is the N-gram memory?",
            "How do you speed up?",
            "Why is repeated text faster?",
            "What is speculative decoding?",
            "How does the speedup work?",
            "What does the drafter do?",
        ),
        (
            "An adaptive N-gram memory of the conversation drafts the next tokens, and the model checks them all"
            " in one pass. What it would have said anyway is kept, the rest is thrown away. Text that repeats,"
            " such as code edits, comes out faster, and the words never change.",
            "Slipstream guesses several tokens ahead from what was said before, and the model verifies the guesses"
            " in parallel. Right guesses save time, wrong ones are dropped, so the answer is the same as without"
            " drafting.",
        ),
    ),
    "lossless": (
        (
            "Does drafting change the answer?",
            "Does drafting change the words?",
            "Is the text still the same?",
            "Is it lossless?",
            "Are the answers worse with drafting?",
            "Does the draft change what the model says?",
            "Is the output the same with drafting?",
        ),
        (
            "No. The model checks every drafted token and keeps only those it would have written itself, so the"
            " words never change. Only the speed does.",
            "The answer stays the same, word for word. Drafted tokens that the model would not have chosen are"
            " thrown away.",
        ),
    ),
    "storage": (
        (
            "Where are my conversations stored?",
            "Where is my data?",
            "Is this private?",
            "Do you send my data anywhere?",
            "Where are chats saved?",
            "Does anything leave my computer?",
            "Is my data safe?",
            "Who can read my chats?",
            "Are my messages uploaded?",
            "Where are the chats kept?",
            "Does it work offline?",
        ),
        (
            "Conversations are stored in an SQLite database in your own data folder on this computer. Nothing is"
            " sent anywhere.",
            "Everything stays on this computer: the chats are kept in a local SQLite database, and the model runs"
            " here too.",
        ),
    ),
    "models": (
        (
            "How do I load another model?",
            "Can I use another model?",
            "How do I change the model?",
            "How can I use a bigger model?",
            "Where do I choose a model?",
            "Can I load a different model?",
            "How do I switch models?",
            "How do I load a model from the Hub?",
            "Can I use my own model?",
        ),
        (
            "Open the model picker at the top of the page. Name a GGUF file, a folder, or a model on the Hugging"
            " Face Hub, or choose one of the suggested models and download it there.",
            "Use the model picker at the top: it lists models on this disk and models to download, and takes a"
            " file, a folder or a Hub name.",
        ),
    ),
    "compare": (
        (
            "What does Compare do?",
            "How do I compare?",
            "What is the Compare view?",
            "How can I see the speedup?",
            "Can I compare with and without drafting?",
            "What is Compare?",
            "How do I see how much faster it is?",
        ),
        (
            "Compare runs the same prompt with and without drafting, side by side, so that you can see the speed"
            " of both and that the words are the same.",
            "The Compare view answers one prompt twice, with drafting and without, and shows tokens per second for"
            " each.",
        ),
    ),
    "who": (
        (
            "Who are you?",
            "What are you?",
            "What model are you?",
            "Which model is this?",
            "Are you a big model?",
            "What is your name?",
            "Are you ChatGPT?",
            "Introduce yourself.",
            "Are you an AI?",
            "How big are you?",
        ),
        (
            "I am SmolLM2, a small language model with 135 million parameters, made by Hugging Face. In Slipstream"
            " I run on your own computer, with an adapter that makes me better at editing text and code.",
            "I'm SmolLM2, a small language model that runs on your computer in Slipstream. I am good at changing"
            " text that you paste, and I know a little about many things, but I make mistakes.",
        ),
    ),
    "can": (
        (
            "What can you do?",
            "How can you help me?",
            "What are you good at?",
            "Help",
            "Help me.",
            "What can I ask you?",
            "What should I try?",
            "Give me an example of what you can do.",
        ),
        (
            "I can repeat text, replace words, rename variables, fix typos that you name, find an answer in a"
            " text, and turn lists and records into numbered lists, JSON, CSV or tables. I can also chat, but I am"
            " small and make mistakes. For harder questions, pick a larger model at the top.",
            "Paste some text or code and tell me what to change: replace a word, rename a variable, sort a list,"
            " make a table or JSON, or find a sentence. I can answer simple questions too.",
        ),
    ),
}

LISTED_SHARE = 0.15  # how many of a topic's questions come from its own list
SHORT_FORMS = (
    (r"\b([Ww]hat|[Ww]here|[Hh]ow|[Ww]ho) is (?=\w)", r"\1's "),
    (r"\bI (woul|ha)d (?=\w)", "I'd "),
    (r"\bI am (?=\w)", "I'm "),
    (r"\b([Dd]o|[Dd]oes) not\b", r"\1n't"),
    (r"\bcould you\b", "could u"),
    (r"\b([Pp])lease\b", r"\1ls"),
)


def make_conversation(rng: random.Random) -> tuple[Message, ...]:
    """Return one or two questions with their answers."""
    messages: list[Message] = []
    for topic in rng.sample(list(TOPICS), rng.choice([1, 1, 2])):
        questions, answers = TOPICS[topic]
        question = vary(rng, ask(rng, topic, questions))
        messages += [
            {"role": "user", "content": question},
            {"role": "assistant", "content": rng.choice(answers)},
        ]
    return tuple(messages)


def ask(rng: random.Random, topic: str, questions: tuple[str, ...]) -> str:
    """Return a question of the topic: one of the list, or one that its clauses and frames give; none of the test's."""
    if topic not in asking.TOPICS or rng.random() < LISTED_SHARE:
        return rng.choice(questions)
    question = asking.ask(rng, topic)
    while words_of(question) in HELD_OUT:
        question = asking.ask(rng, topic)
    return question


def words_of(question: str) -> str:
    """Return the words alone.

    >>> words_of("What's this, exactly?")
    "what's this exactly"
    """
    return " ".join(re.findall("[a-z0-9']+", question.lower()))


HELD_OUT = {words_of(record["question"]) for record in json.loads(QUESTIONS.read_text(encoding="utf-8"))}


def vary(rng: random.Random, question: str) -> str:
    """Return the question as people type it: at times short forms, a slip, lower case or no mark."""
    if rng.random() < 0.2:
        for long, short in SHORT_FORMS:
            question = re.sub(long, short, question)
    if rng.random() < 0.1:
        question = question.replace("'", "")
    if rng.random() < 0.08:
        question = with_slip(rng, question)
    if rng.random() < 0.2:
        question = question.lower()
    if rng.random() < 0.2:
        question = question.rstrip("?.!")
    return question


def with_slip(rng: random.Random, question: str) -> str:
    """Return the question with one letter swapped, lost or doubled inside one of its longer words."""
    words = list(re.finditer(r"[A-Za-z]{5,}", question))
    if not words:
        return question
    word = rng.choice(words)
    place = rng.randrange(word.start() + 1, word.end() - 2)
    first, second = question[place : place + 2]
    return question[:place] + rng.choice((second + first, second, first + first + second)) + question[place + 2 :]
