"""Clauses about the application, by topic and grammatical kind: what `asking` puts into frames.

A clause is a pattern of `patterns.expand`. Words between `<` and `>` stand for the lists of names given first.
"""

from __future__ import annotations

NAMES = {
    "<app>": "(Slipstream|Slipstream|this app|this application|this program|this tool|this software|the app)",
    "<drafting>": "(drafting|drafting|the drafting|the drafter|speculative decoding|the N-gram memory|the speedup|the"
    " draft model|token drafting|the memory of N-grams|the acceleration)",
    "<draft>": "(drafting|drafting|the draft|the drafter|speculative decoding|the speedup|the N-gram memory|the"
    " acceleration|being faster)",
    "<answer>": "(answer|reply|output|text|result|wording|response)",
    "<answers>": "(answers|replies|words|results|responses|outputs|tokens)",
    "<chats>": "(chats|conversations|messages|texts|prompts|files|questions|notes)",
    "<chat>": "(chat|conversation|data|chat history|history|input|information)",
    "<kept>": "(stored|kept|saved|held|written|filed|put|placed)",
    "<keep>": "(store|keep|save|hold|write|file|put)",
    "<load>": "(load|use|open|pick|choose|select|run|try|install|get|start|set up|add)",
    "<loading>": "(loading|using|choosing|switching to|opening|changing to|picking|trying)",
    "<model>": "(another|a different|a bigger|a better|a larger|a smarter|a stronger|my own|a new|some other|a real"
    "|a local|a second|a proper|a more capable|a custom) (model|model|language model|LLM)",
    "<gain>": "(the gain|the speedup|the difference in speed|the benefit of drafting|the gain of drafting|the"
    " effect on speed|how much faster it is|how much drafting helps|how much time it saves|how much"
    " drafting brings|the time saved|the gain in speed|what drafting gains|the speed with and without"
    " drafting|if it is really faster)",
    "<see>": "(see|measure|check|show|test|verify|find out|look at|view|prove|judge|observe)",
    "<tasks>": "(tasks|jobs|things|requests|questions|work|orders|problems|chores|exercises)",
    "<handle>": "(handle|do|manage|solve|help with|do well|take on|perform|deal with|carry out)",
    "<skills>": "(skills|abilities|talents|strengths|capabilities|strong points|features|functions|tricks)",
    "<compare>": "(Compare|the Compare button|the Compare view|the compare mode|the Compare page|the comparison"
    "|Compare mode|the Compare tab)",
}

PATTERNS: dict[str, dict[str, tuple[str, ...]]] = {
    "what": {
        "ask": (
            "what (is|exactly is) <app>( about| for| good for| made for|)",
            "(what|what exactly) (does|can) <app> (do|offer|give me|bring me|do for me|help with)",
            "what (kind|sort|type) of (app|program|software|application|tool|thing) is (this|Slipstream|it)",
            "why (would|should|do) (I|people|anyone) (use|need|want|open|try) <app>",
            "(what|which) (app|program|software|application) (am I using|am I looking at|is running|is it|did I open)",
            "what (did I just (open|start|install)|have I (installed|opened)|is this (thing|page|window|site))",
            "what is the (purpose|point|idea|goal|use|aim) (of|behind) <app>",
        ),
        "know": (
            "what <app> is( for| about| good for|)",
            "what <app> (does|offers|can do|is used for|is made for)",
            "what (kind|sort|type) of (app|program|software|application) (this|Slipstream) is",
            "(what|which) (app|program|software) I (am using|am looking at|opened|started|have here)",
            "why (I|people) should (use|try|want) <app>",
        ),
        "noun": (
            "<app>",
            "the (purpose|point|idea|use|goal) of <app>",
            "Slipstream (itself|in general|in one sentence|in a few words)",
        ),
        "order": (
            "(introduce|present|summarize|sum up|define) <app>( for me| to me| in a sentence|)",
            "give me (a summary|an overview|a short description|an introduction|the basics) of <app>",
        ),
        "fact": ("<app> (is a chat app|is a chat program|is for chatting|runs models|is a chat application)",),
        "say": (
            "(I just (opened|installed|found|started) <app>.|never heard of Slipstream.) What (is it|does it do)?",
            "(what's this|what is that|what is all this|what is it|where am I)?",
            "Slipstream, (what is that|what's that|never heard of it|what does it do)?",
        ),
    },
    "drafting": {
        "ask": (
            "(how|how exactly) does <drafting> (work|function|operate|make it faster|speed things up|save time)",
            "what (is <drafting>|does <drafting> (do|mean)|is <drafting> (here|good for|about))",
            "what is (a draft|a drafter|an N-gram|a drafted token|drafting) (here|good for|used for|in <app>|)",
            "(why|how) is (repeated text|it|Slipstream|copying|your text) (faster|so fast|so quick)",
            "(why|how) are (your answers|you|copies|repeats|repeated words) (faster|so fast|so quick)",
            "(why|how) (does|can) (repeated text|repetition|it|the same text|Slipstream) (get faster|come faster"
            "|go so fast|come so quickly|run faster|speed up)",
            "how do (you|answers|repeats|you manage to|copies) (speed up|come so fast|get faster|save time|go"
            " that fast)",
            "what makes (it|this|Slipstream|the answers|repeated text|you) (so |) (fast|faster|quick|quicker)",
            "(where does the (speed|speedup) come from|what is (the trick|the secret|the idea) behind the (speed"
            "|drafts))",
            "how does (<app>|it|this) (work|work inside|work under the hood|speed up text|guess the next words"
            "|draft|predict tokens|make the model faster)",
            "why (did|does) (that|this|the second|the repeated) (answer|text|part) (come|appear|arrive) so (fast"
            "|quickly)",
        ),
        "know": (
            "how <drafting> (works|functions|speeds things up|makes it faster|saves time)",
            "what (<drafting>|a draft|an N-gram|a drafter) (is|means|does)",
            "why (repeated text|repetition|the same text|it|Slipstream) (is|gets) (so fast|faster|so quick)",
            "(how|why) (you|the answers|copies) (get|become|are) so (fast|quick)",
            "what makes (it|Slipstream|repeated text|the answers) (so fast|faster|quick)",
            "where the (speed|speedup|acceleration) comes from",
            "how (<app>|it|this) works( inside| under the hood|)",
        ),
        "noun": (
            "<drafting>",
            "(the|this) (idea|concept|mechanism|method|technique|theory|trick) (of|behind) <drafting>",
            "the (draft|drafts|drafted tokens|N-grams|drafter|speed of repeated text|reason for the speed|fast parts)",
            "(the word drafting|the term speculative decoding|drafting in <app>|the way drafting works)",
        ),
        "fact": (
            "(repeated text is|your text is|the second time is|it is|copying is|the same text is) (so fast"
            "|faster|quicker) because of (drafting|the drafts|the N-gram memory|a memory|a trick)",
        ),
        "say": (
            "(it|this|repeated text|copied text) is (so |really |) (fast|quick). (How|Why|How come|What is the trick)?",
            "(I see the word|what do you mean by|the page says|what is meant by) (drafting|draft|N-gram memory).",
            "(faster? How|why so fast|how so fast|why that quick|fast how)?",
        ),
    },
    "lossless": {
        "ask": (
            "(does|will|can|could|may) <draft> (change|alter|affect|hurt|worsen|spoil|modify|influence|falsify"
            "|damage|break) (the|my|your) (<answer>|<answers>|quality|meaning|accuracy)",
            "is the (<answer>|quality|accuracy) (the same|worse|different|identical|lower|changed|equal|as"
            " good)( with drafting| when drafting is on| because of drafting| despite the speedup|)",
            "are (the|your|my) (answers|replies|words|results|responses|outputs|tokens) (the same|worse"
            "|different|identical|changed|as good)( with drafting| despite drafting|)",
            "is (drafting|it|the speedup|the drafted text|the draft) (lossless|exact|harmless|correct|reliable"
            "|accurate|without loss|trustworthy)",
            "(do|will) I (get other answers|see different words|get worse answers|lose quality|lose accuracy|get"
            " another text) (with drafting|when drafting|from drafting|because it is faster)",
            "(does|will) (quality|the quality|accuracy) (suffer|drop|go down|get worse|fall)( from drafting|"
            " with drafting| because of the speed|)",
            "do I (pay for|lose something by) (the speed|drafting)( in quality|)",
            "what (happens to|does drafting do to) the (quality|<answer>)( with drafting|)",
            "(what if|what happens when) (a|the) (draft|guess|drafted token) is (wrong|bad|false|not right)",
        ),
        "know": (
            "(whether|if) (drafting|the draft|the speedup) (changes|affects|alters|worsens|hurts) the (<answer>"
            "|quality)",
            "(whether|if) the (<answer>|quality) (is|stays|remains) the same with (drafting|the speedup|drafts)",
            "what happens (when|if) a (draft|drafted word) is wrong",
        ),
        "noun": (
            "the (quality|correctness|accuracy) (with drafting|of drafted text|of drafts|of the drafted answers)",
            "the (effect|influence|impact) of drafting on the (<answer>|<answers>|quality)",
            "(wrong drafts|lossless drafting|losslessness|the word lossless|quality loss|a loss of quality by"
            " drafting)",
        ),
        "fact": (
            "(drafting|the draft|the speedup|the drafter) (changes|alters|affects|spoils|hurts|worsens) the"
            " (<answer>|<answers>|quality)",
            "the (<answer>|quality) (is|stays|remains) (the same|identical|unchanged|equal) (with drafting|with"
            " drafts)",
            "(drafting|the speedup|it) (is lossless|is exact|costs quality|makes mistakes|loses nothing|makes"
            " you worse)",
            "(faster|drafted) (text|answers) (must be|will be|may be|would be) (worse|different|wrong|less good)",
            "I (get|would get) (the same|a different|another|a worse) <answer> (with|without) drafting",
        ),
        "say": (
            "(same|identical|equal) (<answer>|words|quality) (with drafting|or not|as without drafting)?",
            "(lossless|any loss|any loss of quality|quality loss|worse quality|is anything lost|is something lost)?",
            "(fast|faster|quick) (is nice|is good|is fine), but (is it|are the answers|is the text) (right|as"
            " good|the same|correct|still the same)?",
        ),
    },
    "compare": {
        "ask": (
            "what (is <compare>|does <compare> (do|show|mean)|is <compare> (for|good for|about))",
            "(does drafting help|is drafting faster|does drafting pay off|is it faster). How can I (see|check"
            "|measure) it",
            "how much (faster is it|time do I save|does drafting help|does drafting bring|quicker is it|speed do"
            " I gain|does the drafter save) (with drafting|than without drafting|here|)",
            "(is|does) (drafting (really|actually) (worth it|help|save time|make it faster)|it (really|actually)"
            " (save time|help|pay off)). Where (can|do) I see that",
            "how (big|large|high) is (the gain|the speedup|the benefit|the difference in speed)( of drafting| here|)",
            "(where|how) (do|can) I compare( answers| speeds| both| the two| with plain decoding|)",
            "where (is|can I see|do I find) (the gain|the speedup shown|the comparison|the Compare view|the"
            " Compare button|the difference in speed)",
        ),
        "know": (
            "what (Compare|the Compare view|the Compare button|the comparison) (does|shows|is for|is|means)",
            "how (much faster it is|much drafting helps|much time I save|to compare|big the gain is|large the"
            " speedup is)",
            "where (the gain can be seen|I can see <gain>|to compare)",
        ),
        "noun": (
            "(Compare|the Compare (button|view|mode|page|tab|screen)|comparing|the comparison|the side by side view)",
            "(comparing|the comparison of) (speeds|with and without drafting|both ways|drafting with no drafting)",
            "(seeing|measuring|checking|showing|testing) <gain>",
        ),
        "do": (
            "<see> <gain>",
            "compare( with and without drafting| speeds| both| the speed| the two ways| side by side| answers| runs|)",
            "(see|run|try|get) (both|the two|the same prompt twice|it with and without drafting|both ways|it"
            " without drafting)( side by side| next to each other| at once|)",
            "use (Compare|the Compare view|the Compare button|the comparison)",
            "(make|do|run|start) a (comparison|speed test|benchmark|test of the speedup|side by side test|race)",
        ),
        "fact": (
            "(drafting (helps|saves time|pays off|is faster)|it is (faster|quicker)), and I can (see|measure"
            "|test|check) it",
            "Compare (shows (the speedup|both|how much faster it is)|runs (both|the same prompt twice)|measures"
            " (the speedup|the gain))",
        ),
        "order": (
            "(show|prove) me <gain>",
            "(compare|measure) (with and without drafting|the speeds|both|drafting and no drafting|the speed)",
        ),
        "say": (
            "(Compare|the Compare button|Compare view|side by side|with and without drafting)(?|, what is it?|, how?)",
            "I (do not believe|doubt|want proof of|want to see) (the speedup|the gain|that it is faster|that"
            " drafting helps). (How do I check|Can I measure it|Show me|How can I test it|Where can I see it)?",
            "(there is a|I see a|what is that) button( that says|) Compare.( What is it for| What happens there|)?",
        ),
    },
    "storage": {
        "ask": (
            "where (are (my|the|our|all the) <chats>( <kept>|)|do you <keep> (my|the|our) <chats>|does <app>"
            " <keep> (my|the) <chats>)",
            "where do (my|our|the|old) (chats|conversations|messages|texts|prompts|files|questions|notes) (go"
            "|end up|live|land|stay|get <kept>)",
            "where (does|will) my (data|chat history|chat) (go|end up|live|land|stay|get <kept>)",
            "(in (what|which) (place|folder|file|database)|on (what|which) (disk|server|computer|drive)) (are my"
            " (chats|conversations|messages|texts|prompts|files|questions|notes)( <kept>|)|do you <keep> my"
            " (chats|conversations|messages|texts|prompts|files|questions|notes))",
            "(is my <chat>|are my <chats>) (private|safe|uploaded|sent away|sent anywhere|shared|secure"
            "|protected|secret|confidential|on a server|in the cloud|on this computer|logged|recorded|used for"
            " training)",
            "(do you|does it|does <app>|will you|will it) (send|share|upload|leak|sell|transfer|report|give"
            " away) (my|the|any) <chats>( anywhere| to a server| to the cloud| to someone| to others| online|)",
            "(who can|who else can|can anyone|can anybody|can others|can strangers|can the maker) (read|see|get"
            "|look at) (my|these|our) <chats>",
            "(does|can|will) (it|this|Slipstream|<app>) (work|run|be used) (offline|without internet|without a"
            " network|without the internet|on a plane|with no connection|without wifi)",
            "(do I|do you|does it|does <app>) (need|require|use|talk to) (the internet|a network|wifi|an"
            " internet connection|a server|the cloud)",
            "(does|will) (anything|something|any <chat>) (leave|get out of|go out of) (my|this|the) (computer"
            "|machine|PC)",
            "how (is my <chat>|are my <chats>|is my privacy) (<kept>|protected|handled|treated)",
            "(do|will) you (remember|keep|forget|delete) (what I write|my <chats>|this <chat>)",
        ),
        "know": (
            "where (my|the|our|old) <chats> (are|get) <kept>",
            "where (you <keep>|<app> keeps|<app> stores) (my|the) <chats>",
            "(whether|if) (my|the) <chat> is (private|safe|secure|uploaded|sent anywhere|shared|in the cloud)",
            "who (can|could|may) (read|see|get) my <chats>",
            "what happens (to|with) my <chats>",
        ),
        "noun": (
            "(privacy|data privacy|my privacy|data protection|security|data safety|storage|offline use|the database)",
            "the (storage|place|location|safety|privacy|security|handling) of (my|the|our) <chats>",
            "(saving|storing|keeping|the saving of|the storing of) (chats|conversations|messages|data)",
        ),
        "do": (
            "(find|see|look up|locate|back up) (my|the|old) (saved|stored|kept|earlier) <chats>( on the disk|)",
            "(work|use <app>|chat|run this) (offline|without internet|without a connection|privately|in private)",
            "keep my <chats> (private|safe|secret|on this computer|local)",
        ),
        "fact": (
            "my <chat> (is|stays|remains) (private|safe|local|on this computer|with me|secret|on my machine)",
            "(you upload|you send away|you share|this app sells|it sends|someone reads|it collects|you read) my"
            " <chats>",
            "(nothing|something|my data|everything) (leaves|is sent from) (my|this) (computer|machine|laptop)",
            "(it|this|Slipstream) (works|runs) (offline|without internet|without a network|locally)",
        ),
        "say": (
            "my <chats>(, where| - where are they| are where|: where| stored where| safe| private)?",
            "(private|offline|is this private|cloud or local|is it safe here|local or online|any tracking|spying"
            " on me)?",
            "I (write|type|enter) (private|secret|personal) (things|data|notes). (Is that safe|Who sees them"
            "|Where do they go|Are they kept)?",
            "I closed the window. (Where are my|Are my) <chats>( gone| now| still there|)?",
        ),
    },
}
