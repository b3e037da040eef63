"""Random token sequences, repeated: the curriculum from which the copy circuit is learned.

From random initialisation a mixture of tasks and conversation teaches no copying within any budget a CPU has;
repeats of random tokens do within minutes, if the alphabet starts small and grows only with success. Knows
nothing of text: its tokens are ids.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FIRST_TOKEN = 3  # the special tokens are never copied
START_ALPHABET = 24
GROWTH = 1.5
PASS_ACCURACY = 0.8
WINDOW = 10  # batches between two decisions to grow


@dataclass(slots=True)
class CopyCurriculum:
    """Draws rows of repeated random tokens; the alphabet and the lengths grow with accuracy.

    `order` fixes which tokens the small alphabets hold; a growing alphabet is a longer prefix of it.
    """

    vocab_size: int
    seed: int
    alphabet: int = START_ALPHABET
    max_length: int = 12
    recent_sum: float = 0.0
    recent_count: int = 0

    def order(self) -> np.ndarray:
        """Return the permutation of all ordinary tokens that the alphabets are prefixes of."""
        return np.random.default_rng(self.seed).permutation(np.arange(FIRST_TOKEN, self.vocab_size))

    def record(self, accuracy: float, seq_len: int) -> None:
        """Take one batch's copy accuracy; enlarge the alphabet and the lengths when the window passes."""
        self.recent_sum += accuracy
        self.recent_count += 1
        if self.recent_count < WINDOW:
            return
        if self.recent_sum / self.recent_count > PASS_ACCURACY:
            self.alphabet = min(self.vocab_size - FIRST_TOKEN, int(self.alphabet * GROWTH))
            self.max_length = min(seq_len // 2, int(self.max_length * 1.2) + 1)
        self.recent_sum, self.recent_count = 0.0, 0

    def rows(self, rng: np.random.Generator, num_rows: int, seq_len: int) -> tuple[np.ndarray, np.ndarray]:
        """Return token ids and loss weights, both (num_rows, seq_len + 1).

        A row is a chain of segments, each a random sequence said two or three times. A repeat's first token
        cannot be known, so that its weight is 0, as are those of the first saying.
        """
        order = self.order()
        ids = np.zeros((num_rows, seq_len + 1), dtype=np.int64)
        weights = np.zeros((num_rows, seq_len + 1), dtype=np.float32)
        for row in range(num_rows):
            position = 0
            while position <= seq_len:
                # Once everything is copied, some segments fill half the row: copying has to reach far.
                is_far = self.alphabet == self.vocab_size - FIRST_TOKEN and rng.random() < 0.1
                length = int(rng.integers(4, (seq_len // 2 if is_far else self.max_length) + 4))
                # Half have a small alphabet, so that one token of context does not settle what follows.
                size = self.alphabet if rng.random() < 0.5 else int(8 * (self.alphabet / 8) ** rng.random())
                segment = order[rng.integers(0, size, length)]
                for saying in range(int(rng.integers(2, 4))):
                    stop = min(seq_len + 1, position + length)
                    ids[row, position:stop] = segment[: stop - position]
                    if saying:
                        weights[row, position + 1 : stop] = 1.0
                    position = stop
        return ids, weights
