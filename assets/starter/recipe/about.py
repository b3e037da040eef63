"""Questions about the application and about the model itself, with their answers.

Each topic has several wordings of the question and few of the answer, so that a small model can hold them.
"""

from __future__ import annotations

import random

from wordings import expand

Message = dict[str, str]

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
            "This is Slipstream, a chat application that runs models on your own computer.",
            "Slipstream is a chat application that runs models on your own computer."
            " It makes repeated text come out faster.",
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
            "An adaptive N-gram memory of the conversation drafts the next tokens, and the model checks them all in"
            " parallel. Text that repeats comes out faster, and the words never change.",
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
        ("No. The model checks every drafted token, so the words never change. Only the speed does.",),
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
        ("Conversations are stored locally in an SQLite database on this computer. Nothing leaves the machine.",),
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
        ("Open the model picker at the top and give it a folder or a Hugging Face Hub id.",),
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
        ("Compare runs the same prompt with and without drafting, side by side.",),
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
            "I am a small demonstration model that comes with Slipstream.",
            "I am a small demonstration model. I am good at repeating and changing text.",
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
            "I can repeat text, replace a word, rename a variable, fix a typo you name, and turn lists into"
            " numbered lists, JSON or tables.",
        ),
    ),
    "unknown": (
        (
            "Who won the match yesterday?",
            "What is the weather today?",
            "What time is it?",
            "What is the news today?",
            "What is the stock price of Apple?",
            "Who will win the election?",
            "What is the date today?",
            "Where do I live?",
            "What is my name?",
            "How old am I?",
            "What will happen tomorrow?",
            "Is it raining?",
            "Write an essay about the French Revolution.",
            "Prove the Riemann hypothesis.",
            "Translate this to Chinese.",
            "Explain quantum field theory.",
            "What is 48391 times 7713?",
            "What is 17 times 23?",
            "Who is the president?",
            "Can you book a flight for me?",
            "What is the meaning of the latest law?",
            "Write my thesis.",
        ),
        (
            "I am a small demonstration model, so I do not know that."
            " A larger model can be loaded from the model picker at the top.",
        ),
    ),
    "greeting": (
        (
            "Hello",
            "Hi",
            "Hi there",
            "Hello!",
            "Hey",
            "Good morning",
            "Good evening",
            "Hi!",
            "hello",
            "hey there",
            "hi",
        ),
        ("Hello! How can I help you?", "Hi! What can I do for you?"),
    ),
    "thanks": (
        (
            "Thanks",
            "Thank you",
            "Thanks!",
            "Thank you!",
            "Great, thanks",
            "Thank you very much.",
            "thanks a lot",
        ),
        ("You are welcome!", "You are welcome! Is there anything else?"),
    ),
    "bye": (
        ("Bye", "Goodbye", "See you later", "Good night", "bye", "See you!"),
        ("Goodbye!", "Goodbye! See you soon."),
    ),
    "well": (
        ("How are you?", "How are you doing?", "How is it going?", "Are you well?", "how are you"),
        ("I am fine, thank you. How can I help you?",),
    ),
}


# More ways to ask, as patterns of `wordings.expand`.
PATTERNS: dict[str, tuple[str, ...]] = {
    "what": (
        "(what is|what's|tell me about|explain|describe|introduce) (Slipstream|this app|this"
        " application|this program|this tool)",
        "what (does|can) (Slipstream|this app|this program|this application) do",
        "what (is|does) (Slipstream|this) (used for|good for|about)",
        "what (kind|sort) of (app|program|software|application) is (this|Slipstream)",
        "why (would|should) I use (Slipstream|this app)",
        "(what am I|what is it that I am) (looking at|using)",
    ),
    "drafting": (
        "(what is|what does|explain|tell me about) (drafting|a draft|the drafter|speculative decoding|the"
        " N-gram memory|the drafting)( mean| do|)",
        "how does (the drafting|drafting|the drafter|the speedup|the memory|Slipstream|it) work",
        "(why|how) (is|does) (repeated text|it|the text|an answer|Slipstream) (faster|so fast|get faster|come faster)",
        "(how|why) do (you|answers) (speed up|get fast|come so fast)",
        "what makes (it|this|Slipstream|the answers|repeated text) (fast|faster|quick|quicker)",
        "(how|why) is text that repeats (faster|quicker)",
    ),
    "lossless": (
        "(does|will|can) (drafting|the draft|the drafter|the speedup) (change|alter|affect|hurt|worsen)"
        " (the answer|the answers|the text|the words|the quality|what the model says)",
        "(is|are) (the answer|the answers|the text|the output|the words|the quality) (the"
        " same|worse|different|identical|lower)( with drafting|)",
        "is (drafting|it|the speedup) (lossless|exact|safe)",
        "do (drafts|I get) (change the text|other answers|different words|worse answers)( with drafting|)",
        "(does|is) (quality|the quality) (suffer|lost|reduced)( from drafting| with drafting|)",
    ),
    "storage": (
        "where (are|do you keep|do you store|do you save|does it store|are you keeping) (my|the|our)"
        " (chats|conversations|messages|data)( stored| saved| kept|)",
        "(is|are) my (data|chats|messages|conversations) (private|safe|uploaded|sent away|sent"
        " anywhere|shared|on this computer)",
        "(do|does) (you|it|this app|anything) (send|share|upload|leave) (my|the|this)"
        " (data|chats|messages|computer)( anywhere| to a server| to the cloud|)",
        "(who|can anyone|can anybody) (can read|else see|read|see) (my chats|my conversations|my messages)",
        "(does|can) (it|this|Slipstream|this app) (work|run) (offline|without internet|without a"
        " network|without the internet)",
        "(is|do you need|does it need) (the internet|a network|an internet connection)( needed| required|)",
        "how are (my|the) (chats|conversations) (kept|saved|stored)",
    ),
    "models": (
        "(how|where) (do|can) I (load|use|choose|change|switch|select|open|get|run|install) (another|a"
        " different|a bigger|a better|my own|the|a new) model",
        "can I (load|use|choose|change|switch to|run|try) (another|a different|a bigger|a better|my own|a"
        " new|a local) model",
        "(how do I|can I) (load|use|get|download|open) (a model|models|one) (from the Hub|from Hugging"
        " Face|from a folder|from my disk|from the internet)",
        "I (want|would like) (a|to use a|to load a) (bigger|better|different|larger) model",
        "(what|which) (models|other models) (can I load|can I use|are possible|work)",
    ),
    "compare": (
        "(what does|what is|explain|what's) (Compare|the Compare button|the Compare view|the compare"
        " mode|comparing)( do| for|)",
        "how (can|do) I (see|measure|check|show|test) (the speedup|the difference|how much faster it"
        " is|the gain in speed|if drafting helps)",
        "can I (compare|see both|see the difference)( with and without drafting| side by side|)",
        "(where|how) do I compare( answers| speeds| both|)",
        "(does drafting help|is drafting faster)? How can I (see|check)",
    ),
    "who": (
        "(who|what) are you",
        "(what|which|what kind of) (model|language model|AI) (are you|is this|am I using|runs here|answers me)",
        "are you (ChatGPT|a big model|a large model|an AI|a person|a human|a robot|GPT-4|Llama|smart|a real person)",
        "(how (big|large|small|smart|clever) are you|how many parameters do you have)",
        "(introduce yourself|tell me about yourself|what is your name|do you have a name|who made you)",
    ),
    "can": (
        "what (can|could) (you do|I ask you|I ask|you help with|I try|you be used for)( for me| here|)",
        "what (are you good at|should I try|should I ask|tasks can you do|kinds of things can you"
        " do|works best|can you do well)",
        "(how can you help me|help|help me|show me what you can do|give me an example|give me some"
        " ideas|list your skills|what are your skills)",
        "which (tasks|things) (can you do|do you do well|are you good at|work with you)",
    ),
    "unknown": (
        "who (won|lost|played) (the match|the game|the race|the election|the cup)( yesterday| today| last"
        " week| on Sunday|)",
        "(what is|what's|how is|tell me) the (weather|news|temperature|date|time)( today| tomorrow| now|"
        " in Paris| outside| this week|)",
        "what (time|day|year) is it( now| today|)",
        "(what is|who is|tell me) (my name|my age|my address|the president|the richest man|the king of"
        " Spain|the price of gold|the stock price)",
        "(will it rain|is it raining|is it snowing|is it sunny)( today| tomorrow| now|)",
        "(can you|please|could you) (book a flight|buy a ticket|call a taxi|order a pizza|send an"
        " email|search the web|open a website|play music)( for me|)",
        "(prove|explain|teach me) (the Riemann hypothesis|quantum field theory|general"
        " relativity|calculus|Chinese|the French Revolution)",
        "(write|compose) (my thesis|an essay|a poem|a haiku|a novel|a song|a speech)( about rain| about"
        " love| about history| for me|)",
        "translate (this|it|hello|the text) (to|into) (French|German|Chinese|Spanish)",
        "(what is|how much is|calculate|compute) (48391|1234|77|523|17) (times|plus|minus|divided by) (23|7713|19|56)",
        "(do you know|tell me|can you say) (who won|what happened|the latest news|what will happen)("
        " yesterday| today| tomorrow|)",
        "(where do I live|how old am I|what did I eat|what will happen tomorrow|what is the meaning of life)",
    ),
}

FRAMES = (
    *("{}",) * 8,
    "please, {}",
    "hi, {}",
    "so {}",
    "sorry, {}",
    "can you tell me: {}",
    "I would like to know, {}",
    "I am new here. {}",
    "one question: {}",
    "tell me, {}",
    "could you say {}",
)


def make_conversation(rng: random.Random) -> tuple[Message, ...]:
    """Return one to three questions with their answers."""
    messages: list[Message] = []
    for topic in rng.sample(list(TOPICS), rng.choice([1, 1, 1, 2, 3])):
        questions, answers = TOPICS[topic]
        question = vary(rng, ask(rng, topic, questions))
        messages += [
            {"role": "user", "content": question},
            {"role": "assistant", "content": rng.choice(answers)},
        ]
    return tuple(messages)


def ask(rng: random.Random, topic: str, questions: tuple[str, ...]) -> str:
    """Return a question of the topic: one of the list, or one that a pattern gives."""
    if topic not in PATTERNS or rng.random() < 0.4:
        return rng.choice(questions)
    question = rng.choice(FRAMES).format(expand(rng, rng.choice(PATTERNS[topic])))
    return question[0].upper() + question[1:] + rng.choice(["?", "?", "?", "."])


def vary(rng: random.Random, question: str) -> str:
    """Return the question as people type it: at times in lower case or without its mark."""
    if rng.random() < 0.15:
        question = question.lower()
    if rng.random() < 0.15:
        question = question.rstrip("?.!")
    return question
