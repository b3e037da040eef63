import numpy as np
from engine.drafting.compiled import compiled
from engine.drafting.history import *
from engine.drafting.pointer import *
from engine.drafting.pointer import POINTER_FIELDS
from engine.drafting.proposals import *
from engine.drafting.weights import *
from engine.drafting.recycled import *
from typing import NamedTuple

MAX_NODES = 256
CONTEXT = 40
FRONTIER = MAX_NODES * 8

class Grown(NamedTuple):
    token_ids: object; parents: object; chances: object; sources: object; pointers: object; hists: object
    depths: object; line: object; heap: object; heap_chances: object; own_chance: object


def make_grown():
    return Grown(np.zeros(FRONTIER, np.int32), np.zeros(FRONTIER, np.int32), np.zeros(FRONTIER, np.float32), np.zeros(FRONTIER, np.int32),
        np.zeros((MAX_NODES + 1, POINTER_FIELDS), np.int32), np.zeros(MAX_NODES + 1, np.int32), np.zeros(MAX_NODES + 1, np.int32),
        np.zeros(CONTEXT + MAX_NODES + 1, np.int32), np.zeros(FRONTIER, np.int32), np.zeros((3, MAX_NODES), np.int32), np.zeros(MAX_NODES, np.float32))


@compiled
def push(heap, chances, size, item):
    at = size
    while at > 0:
        up = (at - 1) >> 1
        if chances[heap[up]] >= chances[item]:
            break
        heap[at] = heap[up]
        at = up
    heap[at] = item


@compiled
def pop(heap, chances, size):
    top = heap[0]
    item = heap[size - 1]
    size -= 1
    at = 0
    while True:
        down = 2 * at + 1
        if down >= size:
            break
        if down + 1 < size and chances[heap[down + 1]] > chances[heap[down]]:
            down += 1
        if chances[heap[down]] <= chances[item]:
            break
        heap[at] = heap[down]
        at = down
    heap[at] = item
    return top


@compiled
def gather(proposals, history, memory, recycled, line, end, pointer, own, flags):
    proposals.size[0] = 0
    proposals.node[:] = 0
    from_conversation(proposals, history, line, end, pointer)
    if flags[0]: from_pointer(proposals, history, line, end, pointer)
    if flags[1]: from_skip(proposals, history, line, end)
    if flags[2]: from_memory(proposals, memory, line, end, own)
    if flags[3]: from_recycled(proposals, recycled, line, end)


@compiled
def grow(history, memory, recycled, weights, proposals, judged, grown, pointer, status, own, flags, max_size, chain, floor):
    """status: hist, temperature, start"""
    size = history.size[0]
    kept = min(size, CONTEXT)
    line = grown.line
    line[:kept] = history.tokens[size - kept:size]
    nodes = 0
    entries = 0
    heaped = 0
    grown.pointers[0] = pointer
    grown.hists[0] = status[0]
    grown.depths[0] = 0
    node = -1
    chance = 1.0
    while True:
        # expand node
        end = kept + grown.depths[node + 1]
        up = node
        at = end
        while up >= 0:
            at -= 1
            line[at] = grown.heap_chances[0, up]
            up = grown.heap_chances[1, up]
        slot_ = node + 1
        if node >= 0:
            grown.pointers[slot_] = grown.pointers[grown.heap_chances[1, node] + 1]
            if flags[0]: advance(grown.pointers[slot_], grown.heap_chances[0, node], history, line, end)
        gather(proposals, history, memory, recycled, line, end, grown.pointers[slot_], own, flags)
        judge(proposals, grown.pointers[slot_], grown.hists[slot_], status[1], size, status[2], weights, judged)
        count = proposals.size[0]
        best = 0
        for row in range(count):
            if judged.chances[row] > judged.chances[best]:
                best = row
        if chain: heaped = 0
        for row in range(count):
            if chain and row != best:
                continue
            c = chance * judged.chances[row]
            if c < floor or entries == FRONTIER:
                continue
            grown.token_ids[entries] = proposals.token_ids[row]
            grown.parents[entries] = node
            grown.chances[entries] = c
            f = proposals.fields[row]
            kind = f[LENGTH]
            grown.sources[entries] = (kind << 1) | (1 if row == best else 0)
            push(grown.heap, grown.chances, heaped, entries)
            heaped += 1
            entries += 1
        if heaped == 0 or nodes >= max_size:
            break
        item = pop(grown.heap, grown.chances, heaped)
        heaped -= 1
        node = nodes
        chance = grown.chances[item]
        grown.heap_chances[0, node] = grown.token_ids[item]
        grown.heap_chances[1, node] = grown.parents[item]
        grown.heap_chances[2, node] = grown.sources[item] >> 1
        grown.own_chance[node] = chance
        grown.depths[node + 1] = grown.depths[grown.parents[item] + 1] + 1
        grown.hists[node + 1] = ((grown.hists[grown.parents[item] + 1] << 1) | (grown.sources[item] & 1)) & 31
        nodes += 1
        if nodes >= max_size:
            break
    return nodes


@compiled
def follow(history, memory, recycled, weights, proposals, judged, grown, pointer, status, own, flags, token_ids):
    for i in range(token_ids.size):
        end = history.size[0]
        gather(proposals, history, memory, recycled, history.tokens, end, pointer, own, flags)
        judge(proposals, pointer, status[0], status[1], end, status[2], weights, judged)
        if flags[4]:
            right = learn(proposals, judged, weights, token_ids[i])
        else:
            right = 0
        status[0] = ((status[0] << 1) | right) & 31
        append_one(history, token_ids[i])
        if flags[0]: advance(pointer, token_ids[i], history, history.tokens, end + 1)
