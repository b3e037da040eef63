"""What calibration starts from: coarse weights, learnt by itself from recorded greedy chats of two 7-8B models.

Fitted on Spec-Bench answers of Vicuna-7B, and MT-bench and CanItEdit answers of Llama-3.1-8B, with these blocks alone.
Finer ones start at 0. What a suite's own answers teach within some conversations matters more: fitted on the other
suites only, all blocks gained a suite 0.3 % at most.
"""

import numpy as np
import numpy.typing as npt

from engine.drafting.features import (
    LASTING,
    NONE_TOP,
    NUM_SHORTS,
    NUM_SWAPS,
    NUM_WEIGHTS,
    PAIRED,
    RANKED,
    RELATED,
    REMEMBERED,
    SWAPPING,
)
from engine.drafting.sources.recycled import NUM_CHANCES, NUM_TOP

_RANKED = (  # by match length; by rank
    (-3.5, -3.2, -2.5, -2.9, -3.5),
    (-0.4, -1.4, -1.4, -1.8, -2.5),
    (0.6, -0.5, -1.0, -1.3, -1.6),
    (0.9, 0.1, -0.8, -0.6, -1.2),
    (0.8, 0.1, -0.5, -0.7, -1.0),
    (1.0, 0.5, -0.3, -0.5, -0.8),
    (1.1, 0.2, -0.1, -0.6, -0.8),
    (1.6, 0.7, -0.2, -0.6, -0.7),
    (1.7, 0.2, -0.4, -0.5, -0.5),
    (2.8, 0.1, -0.5, -0.5, -0.5),
    (2.9, -0.2, -0.5, -0.5, -0.5),
    (3.6, -0.5, -0.5, -0.5, -0.5),
    (4.2, -0.2, -0.5, -0.5, -0.5),
)
_RELATED = (-0.2, 0.4, 0.3, 1.0, 0.0, 0.2)  # by relation to the pointer
_REMEMBERED = (0.0, 0.0, 0.9, 1.4, 1.7, 1.8, 2.6, 2.6, 3.4, 3.4, 3.8, 3.8, 6.1)  # by memory's match length
_NONE_TOP = (-0.2, 0.1, 0.1, 0.2, 0.3, 0.1, 0.1, 0.2, 0.2, -0.3, -0.3, -0.9, -0.2)  # by the longest match of all
# The model's own tokens: the log of their chance then, and the more surely for two equal tokens before it. Not fitted:
# there were no logits in the recorded chats. A proposal's RANKED weight without a match is made up for. What the
# starter model's answers made of them lay within 0.7 for pairs, up to 1.3 lower for the likeliest behind one token.
_PAIR, _LAST = 4.5, 3.0
_SWAPPED = (2.0, 4.0, 5.0, 5.0)  # by times; too rare there to be fitted: a renaming is a guess once, then likely


def prior_weights() -> npt.NDArray[np.float32]:
    """A weight for every feature cell."""
    weights = np.zeros(NUM_WEIGHTS, np.float32)
    for start, block in ((RANKED, np.ravel(_RANKED)), (RELATED, _RELATED), (REMEMBERED, _REMEMBERED)):
        weights[start : start + len(block)] = block
    weights[NONE_TOP : NONE_TOP + len(_NONE_TOP)] = _NONE_TOP
    swapping = weights[SWAPPING : SWAPPING + NUM_SWAPS * NUM_SHORTS].reshape(NUM_SWAPS, NUM_SHORTS)
    swapping[:] = np.array(_SWAPPED)[:, None]
    log_chances = -np.log(2.0) * np.arange(NUM_CHANCES)
    told = (NUM_TOP + 1, NUM_CHANCES, 2)
    paired = weights[PAIRED : PAIRED + np.prod(told)].reshape(told)
    paired[:, :, 0] = _PAIR + log_chances
    paired[:, :, 1] = (_PAIR + log_chances) / 2  # the conversation proposes it too
    lasting = weights[LASTING : LASTING + np.prod(told)].reshape(told)
    lasting[:, :, 0] = _LAST + log_chances  # with (t-1, t0) known too, that alone counts
    return weights
