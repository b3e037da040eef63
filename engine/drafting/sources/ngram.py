"""The conversation's own text: what followed the latest matches of the present context, for every context length."""

from engine.drafting.compiled.numba_cache import compiled
from engine.drafting.history import LENGTHS, LONGEST, NUM_LENGTHS, History, Tokens, agreement, find, level_of
from engine.drafting.layout import CELLS, FIELDS, NAMES, NODE
from engine.drafting.proposals import LENGTH, TOP_LENGTH, Proposals, Situation, propose
from engine.drafting.sources import buckets
from engine.drafting.sources.buckets import NUM_MATCHES, NUM_SHARES, NUM_SHORTS, NUM_TOTALS
from engine.drafting.sources.pointer import see_match

# Latest matches read, for each context length. More found nothing more in recorded chats, and take longer.
_MAX_MATCHES = 16
_NUM_AGES = 8  # 0-3, 4-7, 8-15, ... tokens ago

COUNT = FIELDS.take(NUM_LENGTHS)  # of the latest matches of each context length, how many it followed
_NEWEST = FIELDS.take()  # bit per context length: it followed the very last match
LATEST = FIELDS.take()  # the latest position of the longest match

_TOTAL = NODE.take(NUM_LENGTHS)  # matches read, by context length

_SHARED = CELLS.take(NUM_LENGTHS, NUM_SHARES, NUM_TOTALS)  # context length, share of its matches, their number
_NEW = CELLS.take(NUM_LENGTHS, 4, NUM_TOTALS)  # context length, followed its very last match, and that of t0, support
_SHORTER = CELLS.take(NUM_LENGTHS, NUM_SHARES + 1, 3)  # the same shares for each shorter context length
_AGED = CELLS.take(NUM_SHORTS, _NUM_AGES, 2)  # length, tokens ago, in this answer or before it
_NONE = CELLS.take(  # of none: longest match of all
    NUM_MATCHES, initial=(-0.2, 0.1, 0.1, 0.2, 0.3, 0.1, 0.1, 0.2, 0.2, -0.3, -0.3, -0.9, -0.2)
)

MAX_CELLS = 3 + NUM_LENGTHS - 1  # of one proposal

_NAME = NAMES.take(*(f"ngram-{length}" for length in range(1, LONGEST + 1)))


@compiled
def propose_from(proposals: Proposals, history: History, line: Tokens, end: int, path: Tokens) -> None:
    """The longest contexts first."""
    for back in range(NUM_LENGTHS):
        level = NUM_LENGTHS - 1 - back
        position = find(history, line, end, level)
        num_read = 0
        found = 0
        while position >= 0 and num_read < _MAX_MATCHES:
            num_read += 1
            length = agreement(history, position, line, end)
            if length >= LENGTHS[level]:
                found += 1
                row = propose(proposals, history.tokens[position])
                if row >= 0:
                    fields = proposals.fields[row]
                    fields[COUNT + level] += 1
                    if found == 1:
                        fields[_NEWEST] |= 1 << level
                    if length > fields[LENGTH]:
                        fields[LENGTH] = length
                        fields[LATEST] = position
                    see_match(fields, path, position)
                    if length > proposals.node[TOP_LENGTH]:
                        proposals.node[TOP_LENGTH] = length
            position = history.links[level, position]
        proposals.node[_TOTAL + level] = found


@compiled
def describe(fields: Tokens, node: Tokens, situation: Situation, cells: Tokens, used: int) -> int:
    if fields[LENGTH] == 0:
        return used
    level = level_of(fields[LENGTH])
    count, total = fields[COUNT + level], node[_TOTAL + level]
    newest = ((fields[_NEWEST] >> level) & 1) * 2 + (fields[_NEWEST] & 1)
    cells[used] = _SHARED + (level * NUM_SHARES + buckets.share(count, total)) * NUM_TOTALS + buckets.total(total)
    cells[used + 1] = _NEW + (level * 4 + newest) * NUM_TOTALS + min(max(total, 1), NUM_TOTALS) - 1
    age = buckets.doublings((situation.size - fields[LATEST]) >> 2, _NUM_AGES - 1)
    in_answer = 1 if fields[LATEST] >= situation.start else 0
    cells[used + 2] = _AGED + (buckets.short(fields[LENGTH]) * _NUM_AGES + age) * 2 + in_answer
    used += 3
    for shorter in range(level):
        total = node[_TOTAL + shorter]
        share = buckets.share(fields[COUNT + shorter], total) if total else NUM_SHARES
        cells[used] = _SHORTER + (shorter * (NUM_SHARES + 1) + share) * 3 + min(total >> 3, 2)
        used += 1
    return used


@compiled
def none_cell(node: Tokens) -> int:
    return _NONE + buckets.match(node[TOP_LENGTH])


@compiled
def name(fields: Tokens) -> int:
    """Of a proposal behind a match of any length."""
    return _NAME + fields[LENGTH] - 1 if fields[LENGTH] else 0


@compiled
def name_of_long(fields: Tokens) -> int:
    """Of a proposal behind a match that says more than other sources do."""
    return name(fields) if fields[LENGTH] > 1 else 0
