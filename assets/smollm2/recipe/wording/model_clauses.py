"""Clauses about the model: which others there are, who it is and what it can do, as in `clauses`."""

from __future__ import annotations

PATTERNS: dict[str, dict[str, tuple[str, ...]]] = {
    "models": {
        "ask": (
            "(what|which) (models|other models|LLMs) (can I <load>|are possible|work here|do you support|are"
            " supported|fit|are there|does <app> support)",
            "(do you|does it|does <app>) (support|accept|take|run|work with) (other models|my own model|Hugging"
            " Face models|bigger models|a local model|models from a folder|Llama|Qwen|GPT-2|Mistral)",
            "where (is|do I find) (the model picker|the list of models|the model menu|the model setting)",
            "(is there (any other model|a better model|a bigger model|another model)|are there (other models"
            "|better models|more models|bigger models))",
        ),
        "know": (
            "(which|what) (models|other models) (I can <load>|are supported|<app> supports|fit here)",
            "where (the model is chosen|I choose the model|to load a model|the model picker is)",
            "how (to change the model|models are loaded|one picks a model|I get <model>)",
        ),
        "noun": (
            "<loading> (<model>|models)",
            "(the model picker|other models|bigger models|models from the Hub|custom models|a change of model"
            "|the choice of models|Hugging Face models|changing the model|model loading|downloading models)",
        ),
        "do": (
            "<load> <model>",
            "(switch|change|move|swap) (to <model>|models|over to <model>)",
            "(change|swap|replace|exchange|upgrade|switch) the model( that is loaded| in use| here|)",
            "(load|use|get|download|open|fetch|pull) (a model|models|one|weights) (from the Hub|from Hugging"
            " Face|from a folder|from my disk|from the internet|from a directory|that I trained|I have on disk)",
            "(chat with|talk to|speak with|work with) <model>",
            "make you (bigger|smarter|better) (with|by loading) another model",
        ),
        "order": (
            "(load|use|open|switch to) <model>( for me| now|)",
            "(change|switch|swap) the model( for me| to a bigger one|)",
        ),
        "fact": (
            "I can (load|use|run) (<model>|any model|models from Hugging Face|only this model)",
            "(there is (no other model|only one model|a better model)|there are (bigger models|better models to"
            " load|other models))",
        ),
        "say": (
            "(you are|this model is|this one is) too (small|weak|simple|dumb|limited). (How do I <load>|Where do"
            " I get|Can I <load>) <model>?",
            "(another|bigger|better|different|my own|larger|smarter|new) model(?|, how?|, please.|, where?|,"
            " possible?)",
            "I (have|downloaded|trained) (a model|my own model|a bigger model)( on my disk| in a folder|). (How"
            " do I load it|Can I use it|How can I try it here|Where do I put it)?",
            "(model picker|change model|switch model|load model|Hugging Face Hub id|choose model)?",
        ),
    },
    "who": {
        "ask": (
            "(who|what|what exactly) are you( really| in fact| then|)",
            "(what|which|what kind of|what sort of) (model|language model|AI|LLM|chatbot|bot|assistant) (are you"
            "|is this|am I using|runs here|answers me|am I talking to|is loaded|replies here)",
            "are you (ChatGPT|a big model|a large model|an AI|a person|a human|a robot|GPT-4|Llama|smart|a real"
            " person|Claude|Gemini|a machine|alive|real|clever|intelligent|a bot|a language model|from OpenAI"
            "|small|a chatbot|Siri)",
            "how (big|large|small|smart|clever|old|intelligent|good) are you",
            "how many (parameters|weights|layers) do you have",
            "(who|which company|what person) (made|built|trained|created|wrote|programmed|developed) you",
            "(what is|what's) your (name|size|version|origin|real name|model name|architecture)",
            "do you have (a name|feelings|a body|a brain|parents|a maker|an age)",
            "(who|what) am I (talking to|speaking to|speaking with|writing to|chatting with|talking with)",
            "(what|how) (should|can|may|do) I call you",
            "where do you come from",
        ),
        "know": (
            "(who|what) you are",
            "(what|which) (model|language model|AI|bot) (you are|this is|I am talking to|answers me|is running"
            "|is loaded)",
            "(what your name is|how big you are|who made you|who trained you|how smart you are|how many"
            " parameters you have)",
            "(who|what) I am (talking to|speaking to|chatting with|writing to|talking with)",
        ),
        "noun": (
            "(yourself|your name|your size|your origin|your maker|the model you are|who you are|the model behind"
            " this chat)",
            "(your (parameters|identity|background|training|person|nature)|this (model|bot|chatbot|assistant)"
            "|the loaded model)",
        ),
        "order": (
            "(introduce|describe|present|define) yourself( to me| briefly| please| in a sentence|)",
            "(tell me (your name|your size|about you|something about you)|give me (your name|a few words about"
            " yourself))",
            "(say|tell me) (who|what) you are",
        ),
        "fact": (
            "you are (ChatGPT|a big model|an AI|a person|a human|a robot|GPT-4|small|a small model|a language"
            " model|real|a bot|Claude|a demo|a demonstration model)",
            "I am (talking to|speaking with|chatting with) (a human|a person|a machine|an AI|a bot|ChatGPT|a"
            " language model)",
        ),
        "say": (
            "(who is there|who's this|who is this|who is speaking|your name|name|who r u|what r u|human or robot"
            "|bot or human|are you there and who are you)?",
            "(my name is|I am|I'm) (Anna|Tom|Maria|Ben|Lea|Omar). (And you|Who are you|And who are you|What is"
            " your name|What are you)?",
            "I (don't|do not) know you. (Who are you|What are you|Tell me who you are)?",
        ),
    },
    "can": {
        "ask": (
            "what (can|could) (you do|I ask you|I ask|you help with|I try|you be used for|you offer|I use you"
            " for|you handle|I give you|you do well|you do with text|I tell you to do|I say to you)( for me|"
            " here| at all| first|)",
            "(what|which) (kind of |sort of |types of |) <tasks> (can|do|could) you <handle>",
            "(what|which) (kind of |sort of |) <tasks> (are you good at|are you made for|suit you|fit you|work"
            " best with you|are you for|were you trained for|may I give you|should I give you|work with you|are"
            " right for you)",
            "what (are you good at|are you made for|are you able to do|should I try|should I ask|works best"
            "|works well|are you useful for|are you trained to do|do you do best|do you know how to do|are you"
            " capable of|is your job)",
            "what are your (best |) <skills>",
            "(how|in what way|with what) can you (help|assist|support|serve|be useful to) me",
            "(can|could|will|would) you (help|assist) me( with something| a bit| with text|)",
            "(can you|do you know how to|are you able to) (make tables|fix typos|rename variables|repeat text"
            "|replace words|number lists|make lists|edit text|change text|make JSON|work with lists|change words)",
            "how (do|can|should) I (use you|start|begin|work with you|talk to you|get help|make use of you)",
        ),
        "know": (
            "what you (can do|are good at|can help with|are able to do|do well|are made for|can be used for"
            "|offer|know)",
            "(what|which) (kind of |) <tasks> you (can <handle>|<handle>|are good at|are made for)",
            "(what|which) <tasks> (suit|fit|work with|are right for|are made for) you",
            "(how you can (help|assist) me|what I (can|could|should|may) (ask|ask you|try|tell you|give you))",
        ),
        "noun": (
            "your (<skills>|best <skills>|job|usual <tasks>|main use|uses|limits and <skills>)",
            "the <tasks> you (can |) <handle>",
            "(things to try|examples of use|what you can do|things I can ask|what to ask you)",
        ),
        "do": ("(use you|get help from you|make good use of you|get the best out of you|put you to work|get started)",),
        "order": (
            "(help|help me|help me out|assist me|give me a hand|do something for me|do something|impress me)",
            "(show|tell) me (what you can do|your <skills>|what you are good at|a trick|what to try|what to ask)",
            "(list|name|show|describe) (your <skills>|the <tasks> you (can do|<handle>)|some <tasks> you can do)",
            "give me (an example|some ideas|some examples|a demo|a hint|a few suggestions|a list of your"
            " <skills>)( of what you can do| of what to ask| to try|)",
            "suggest (something to try|a task|a few <tasks>|what to ask|an example)",
        ),
        "fact": (
            "you can (help me|do many things|only do simple <tasks>|edit text|make tables|fix typos|do useful <tasks>)",
            "you are (good at|able to do) (something|simple <tasks>|text <tasks>|some <tasks>|many <tasks>)",
        ),
        "say": (
            "I (don't know|have no idea|am not sure|do not know) what to (ask|do|try|write|say)( you| here|).("
            " Any ideas| Help| Give me an example| What works|)?",
            "(help|your skills|skills|tasks|ideas|examples|an example|abilities|any tips|what now|now what)(?|."
            "|, please.)",
            "I (want|have|am looking for) (some work for you|a job for you|a task|a helper|help). What (can you"
            " do|are you good at|do you do|suits you)?",
        ),
    },
}
