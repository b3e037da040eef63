"""What the model cannot know or do: clauses about the world, sums, news, advice and writing, by grammatical kind.

Some use the words of the application's topics in another sense, so that a word alone does not give the topic away.
"""

from __future__ import annotations

NAMES = {
    "<person>": "(Napoleon|Einstein|Shakespeare|Mozart|Cleopatra|Gandhi|Newton|Beethoven|Picasso|Marie Curie|Darwin"
    "|Elon Musk|Taylor Swift|Messi|Plato|the pope|Julius Caesar|Van Gogh|Michael Jordan|the queen of"
    " England)",
    "<place>": "(France|Spain|Japan|Brazil|Canada|Egypt|India|China|Kenya|Norway|Peru|Italy|Germany|Turkey|Mexico"
    "|London|Berlin|Tokyo|Rome|New York|Cairo|Madrid|Moscow|Sydney|Texas|California|the moon|Mars)",
    "<thing>": "(gravity|photosynthesis|quantum field theory|general relativity|the French Revolution|black holes"
    "|inflation|evolution|the Roman Empire|calculus|democracy|DNA|the stock market|bitcoin|vaccines"
    "|climate change|electricity|the human heart|volcanoes|philosophy|World War II|the Bible|jazz|chess"
    "|soccer|the periodic table|genetics|magnetism|economics|human memory|the big bang|dreams|dinosaurs"
    "|chemistry|the Cold War|the Renaissance|neurons|taxes)",
    "<device>": "(the telephone|the light bulb|the computer|the wheel|the radio|the airplane|the steam engine|paper"
    "|the car|penicillin|the internet|the camera|the piano|glass)",
    "<animal>": "(cats|dogs|whales|bees|elephants|owls|snakes|horses|penguins|tigers|ants|dolphins)",
    "<food>": "(pasta|bread|sushi|a cake|pancakes|rice|curry|soup|an omelette|pizza|a steak|coffee|risotto|cookies)",
    "<goods>": "(a phone|a laptop|a car|a bike|a camera|shoes|a book|a movie|a restaurant|a hotel|a song|a game|a"
    " gift|a watch|a sofa|a house)",
    "<writing>": "(an essay|a poem|a haiku|a novel|a song|a speech|a story|a letter|a blog post|a report|a joke|a"
    " thesis|an email|a review|a script|a sonnet|a rap|an article|a cover letter|a play|lyrics)",
    "<subject>": "(love|rain|history|the sea|my dog|winter|friendship|war|the future|robots|my boss|the economy"
    "|autumn|space|freedom|a dragon|the city|school|a lonely king|music)",
    "<when>": "( yesterday| today| last week| on Sunday| last night| this year| in 2020| tomorrow|)",
    "<digits>": "(2|3|4|7|9|12|15|17|19|23|28|34|45|56|63|77|88|91|100|123|250|523|999|1234|4096|7713|48391)",
    "<game>": "(the match|the game|the race|the election|the cup|the final|the World Cup|the Oscar|the Super Bowl"
    "|the championship|the tournament|the vote)",
    "<now>": "( today| tomorrow| now| right now| outside| this week| in <place>| this evening| at the moment|)",
    "<language>": "(French|German|Chinese|Spanish|Italian|Japanese|Latin|Russian|Arabic|Polish)",
    "<unit>": "(miles in a kilometer|grams in an ounce|days in a leap year|seconds in a day|feet in a mile|planets)",
}

PATTERNS: dict[str, tuple[str, ...]] = {
    "ask": (
        "who (won|lost|played|will win|leads in|came second in) <game><when>",
        "(what is|what's|how is) the (weather|news|temperature|date|time|forecast|traffic|air quality)<now>",
        "what (time|day|year|month|date|weekday) is it<now>",
        "(will it rain|is it raining|is it snowing|is it sunny|is it cold|is it dark|is it hot|will it snow)<now>",
        "(what is|what's) (my name|my age|my address|my job|my phone number|my password|my birthday|my"
        " favorite color|my mother's name|my bank balance|my plan for today)",
        "who is (<person>|the president|the richest man|the king of Spain|the mayor of <place>|my boss|the"
        " tallest man|the best player|the chancellor|the prime minister of <place>)",
        "(what is|what's) the (price|cost|value) of (gold|oil|bitcoin|<goods>|a ticket to <place>|Apple"
        " stock|silver)<now>",
        "(what is|how much is|what's) <digits> (times|plus|minus|divided by|multiplied by|+|*|-) <digits>",
        "what is the (square root|cube|factorial|half|double|square|logarithm) of <digits>",
        "how many (people live in <place>|<unit> are there|<animal> are there in <place>|countries are in Europe)",
        "what is the (capital|population|size|flag|language|currency|history|highest mountain) of <place>",
        "how (far|big|old|hot|cold|rich|expensive|large) is <place>",
        "(when|where) was <person> born",
        "(who (invented|discovered) (<device>|<thing>)|when was <device> invented)",
        "(what is|what causes|why is there|who studies|how important is) <thing>",
        "how does (<device>|a fridge|a car engine|a rocket|the brain|gravity|electricity|the stock market"
        "|evolution|human memory) work",
        "why (do <animal> (sleep|fly|live long|bite|play)|are <animal> so (fast|big|dangerous|loud|smart|quick))",
        "what (do|can) <animal> (eat|do|see|hear|drink)",
        "(what|which) (movie|book|car|phone|laptop|game|restaurant|city|stock|wine|dress) (should I|would"
        " you|do I) (buy|see|choose|take|pick|try|like)<when>",
        "(should I|would you|is it good to) (marry him|quit my job|invest in <thing>|sell my house|move to"
        " <place>|see a doctor|call her|study law|take this pill|eat <food>)",
        "why (does my (head|back|tooth|knee) hurt|am I (sad|tired|sick)|is the sky blue|is the sea salty|is"
        " ice slippery)",
        "where (do I live|am I now|are my keys|is my wife|did I park|is <place>|can I buy <goods>|are my"
        " glasses|was I born)",
        "(how old am I|what did I eat|what will happen tomorrow|what is the meaning of life|does God exist"
        "|what am I thinking|what did I say last week|who am I|do I look good|what is love)",
        "(when|how) (does the (train|bus|plane|shop|movie) (leave|start|open|arrive)|is the next (bus|train"
        "|flight))<when>",
        "(where|how) (can|do) I (store|keep|save) (my bike|apples|wine|my winter clothes|money|meat|gold|food)",
        "what (models does Tesla sell|model of car is best|model of the atom is right|model won the show"
        "|model is on the cover)",
        "(who wrote|what is in|who read|when was) the (first draft|draft) of (the constitution|the law|the"
        " treaty|Hamlet)",
        "(how fast|how quick) is (light|a cheetah|sound|a rocket|a falcon|the fastest car|a train in <place>)",
        "what is (better|bigger|older|cheaper), <place> or <place>",
        "how much faster is (a plane than a car|a horse than a dog|light than sound|a train than a bus)",
        "does (coffee|sport|money|age|music|sugar|the moon) (change|affect|alter|hurt) (the body|people"
        "|sleep|the sea|us)",
        "what is (memory in psychology|a database administrator|a private school|a token of love|a model in fashion)",
    ),
    "know": (
        "who (won|lost|will win|played in) <game><when>",
        "what the (weather|temperature|news|traffic|forecast) is<now>",
        "what (time|day|year) it is<now>",
        "(who <person> was|where <place> is|how many people live in <place>|what <thing> is|why <animal> sleep)",
        "(what happened|what will happen|what is new|what the news is)( in <place>|) (today|yesterday"
        "|tomorrow|this week)",
        "how much <digits> (times|plus|minus|divided by) <digits> is",
        "(when|where|how) <person> (died|lived|became famous|worked)",
        "who (invented|discovered) <device>",
        "(what my name is|where I live|how old I am|what I should buy|whom I should marry|what I ate|where"
        " my keys are)",
        "how (gravity works|electricity works|the stock market works|a rocket flies|birds fly|to get rich|to"
        " lose weight|babies are born)",
        "why (the sky is blue|the sea is salty|people lie|I am tired|prices rise)",
        "(what|which) (book|movie|phone|car|stock) (to buy|is best|I should choose|is new)",
    ),
    "noun": (
        "(<thing>|<thing>|<thing>|the history of <place>|the life of <person>|<animal>|the invention of <device>)",
        "(<person>|<place>|the theory of <thing>|the causes of <thing>|the news|the latest news|the weather<now>)",
        "(the (prices|people|food|politics|economy|climate|culture) (of|in) <place>|cooking <food>|buying <goods>)",
    ),
    "do": (
        "(cook|make|bake|prepare) <food>",
        "(get|travel|fly|drive|move) to <place>( by train| cheaply|)",
        "(lose weight|get rich|sleep better|fix my car|repair a bike|learn <language>|find a job|quit"
        " smoking|stay healthy|cure a cold|save money|win at chess|grow tomatoes|tie a tie|train a dog|get a"
        " visa|pay less tax|be happy)",
        "(buy|find|choose|sell|rent) <goods>( in <place>| online| cheaply|)",
        "(solve|prove|integrate) (the Riemann hypothesis|x squared plus 3x|this equation|Fermat's theorem|a"
        " cubic equation)",
    ),
    "order": (
        "(write|compose|invent|make up|draft|create) (me |) <writing>( about <subject>| on <thing>| for me|"
        " for <person>|)",
        "translate (this|it|hello|the text|good morning|my letter) (to|into) <language>",
        "(book|reserve|order|buy|get me) (a flight to <place>|a ticket|a taxi|a pizza|a table for two|a"
        " hotel in <place>)",
        "(call my mother|send an email|search the web|open a website|play music|set an alarm|turn on the"
        " light|check my mail|look it up online|remind me tomorrow|draw a cat|paint a picture|sing a song"
        "|take a photo|google it)",
        "(calculate|compute|work out) <digits> (times|plus|minus|divided by|+|*|-) <digits>",
        "(prove|teach me|explain|summarize|tell me all about) (<thing>|the Riemann hypothesis|<language>)",
        "(recommend|suggest) (me |) <goods>( for my mother| under 100 dollars| in <place>|)",
        "(tell me a (joke|story|secret|riddle|fairy tale)|do my (homework|taxes|essay)|plan my (trip|week"
        "|wedding|day))",
        "(diagnose my (cough|rash|pain)|predict (the future|the lottery numbers|the price of gold)|guess my"
        " (age|name))",
        "(compare <place> and <place>|compare <person> with <person>|compare a plane with a train)",
        "(write|code) (a game|a website|a compiler|a sorting algorithm|an app|a program that plays chess|a web server)",
        "say (something|hello|good night) in <language>",
    ),
    "fact": (
        "(<person> is (still alive|dead|rich)|<place> is (cold|big|safe|expensive)|<animal> (can swim|sleep standing))",
        "(it will (rain|snow)<when>|the earth is (flat|round)|God exists|aliens exist|the prices will (rise|fall))",
    ),
    "say": (
        "<digits> (+|*|-|/|x|times|plus) <digits>(?| =| = ?)",
        "(weather|news|time|date|score|stock price|traffic|lottery numbers)<now>?",
        "I (feel sad|have a headache|am bored|lost my job|am in love|cannot sleep|am ill). What should I do?",
        "I (am going|fly|travel) to <place>. What should I (see|pack|eat|visit) there?",
        "my (dog|child|car|boss|neighbor|plant) is (ill|angry|loud|broken|strange). What (can|should) I do?",
        "(capital|population|president|weather|history) of <place>?",
    ),
}
