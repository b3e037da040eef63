"""The ceiling of retrieval: a drafter that, at each round, copies what will agree longest.

It sees the future. Of all earlier positions in the conversation (with memory, in earlier conversations too) it picks
the one whose continuation agrees longest with what comes. No drafter that copies one stretch of earlier text a
round can commit more per round.
"""

from collections.abc import Iterable

from engine.bench.inputs.transcripts import Transcript
from engine.drafting.baselines.suffix_automaton import SuffixAutomaton

_BOUNDARY = -1  # between conversations; no answer holds it


def oracle_rounds(transcripts: Iterable[Transcript], max_nodes: int, *, memory: bool) -> list[tuple[int, int]]:
    """(tokens, rounds) of each conversation, in time that grows with its length alone."""
    figures = []
    automaton = SuffixAutomaton()
    for transcript in transcripts:
        if not memory:
            automaton = SuffixAutomaton()
        tokens = rounds = 0
        for turn in transcript.turns:
            answer = turn.answer_ids
            automaton.extend((*turn.prompt_ids, *answer[:1]))
            done = 1
            while done < len(answer):
                agreed = automaton.longest_prefix(answer, done, max_nodes)
                committed = min(agreed + 1, len(answer) - done)
                automaton.extend(answer[done : done + committed])
                done += committed
                tokens += committed
                rounds += 1
        automaton.extend((_BOUNDARY,))
        figures.append((tokens, rounds))
    return figures
