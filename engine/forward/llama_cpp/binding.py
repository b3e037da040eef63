"""The one module that knows llama-cpp-python, and of that its low-level part alone: structures and functions by ctypes.

The package's own `__init__` imports what is not installed here on purpose (`diskcache`, which reads pickles), so it is
never run. Whether the library is there, and in the version that was tested, is known without importing it.
"""

import ctypes
import hashlib
import importlib
import importlib.metadata
import importlib.util
import logging
import os
import re
import sys
import types
import weakref
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

log = logging.getLogger(__name__)

GET_IT = "python launcher.py --with-llama-cpp"
_PACKAGE = "llama-cpp-python"
_MODULE = "llama_cpp"
_PIN = Path(__file__).resolve().parents[3] / "assets" / "llama-cpp.txt"
_ERROR, _CONTINUED = 4, 5  # ggml_log_level
_OWN_BATCH = 512  # llama.cpp's default
_NO_MEMORY = -2  # what llama_decode returns where it could not allocate
# ggml's bfloat16 and float16. With keys and values of one type, a row alone behind 512 tokens is computed in parts, one
# for each thread, and 64 rows in tiles, both with other sums than all other rows. These two cost no time, and 0.4 % of
# SmolLM2's perplexity.
_KEYS, _VALUES = 30, 1
_LEAST_SLOTS = 256
_SPEAKER = re.compile(r"^(\w+: )+")  # the functions that a line comes from


class LlamaCppError(RuntimeError):
    """What llama.cpp said when it failed."""


def pinned_version() -> str:
    """The version that was tested: the one that the launcher installs."""
    found = re.search(rf"^{_PACKAGE}==([\w.]+)", _PIN.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return found[1]


def installed_version() -> str | None:
    """The version that this Python has, without importing it; None also for half a one: pip writes INSTALLER last."""
    for found in importlib.metadata.distributions(name=_PACKAGE):
        if found.read_text("INSTALLER"):
            return found.version
    return None


def why_not() -> str | None:
    """Why llama.cpp cannot be used here, as a sentence without its full stop; None where it can."""
    version, wanted = installed_version(), pinned_version()
    if version is None:
        return f"llama.cpp is not installed (get it with `{GET_IT}`)"
    if version != wanted:
        return f"{_PACKAGE} {version} is installed and {wanted} was tested (get that with `{GET_IT}`)"
    try:
        library()
    except Exception as exc:  # a build for another processor or system fails in ways of its own
        log.warning("llama.cpp cannot be used", exc_info=True)
        return f"{_PACKAGE} {version} cannot be loaded ({exc}; get it anew with `{GET_IT}`)"
    return None


@cache
def library() -> "Library":
    """The library, loaded and set up; once per process."""
    return Library(_low_level())


def _low_level() -> Any:
    """Import `llama_cpp.llama_cpp` without its package's `__init__`; a later `import llama_cpp` runs that as ever."""
    found = importlib.util.find_spec(_MODULE)
    if found is None or found.submodule_search_locations is None:
        raise ImportError(f"there is no module {_MODULE}")
    bare = types.ModuleType(_MODULE)
    bare.__path__ = list(found.submodule_search_locations)
    before = sys.modules.get(_MODULE)
    sys.modules[_MODULE] = bare
    try:
        return importlib.import_module(f"{_MODULE}.{_MODULE}")
    finally:
        if before is None:
            del sys.modules[_MODULE]
        else:
            sys.modules[_MODULE] = before


class Library:
    """llama.cpp's functions, set up so that it prints nothing: what it says at an error is kept and logged."""

    def __init__(self, functions: Any) -> None:
        self.functions = functions
        self._said: list[str] = []
        self._level = 0
        self._callback = functions.llama_log_callback(self._note)  # llama.cpp keeps a pointer to it
        functions.llama_log_set(self._callback, None)
        functions.llama_backend_init()

    @property
    def build(self) -> tuple[str, ...]:
        """What names the build, as far as it decides bits: version, processor features, the libraries' own bytes."""
        files = sorted(Path(self.functions.__file__).parent.glob("lib/*"))
        digest = hashlib.sha256()
        for file in files:
            if file.is_file() and not file.is_symlink():
                digest.update(file.read_bytes())
        features = self.functions.llama_print_system_info().decode(errors="replace").strip()
        return str(installed_version()), features, digest.hexdigest()[:16]

    def said(self) -> str:
        """The first thing that llama.cpp said of its latest failure, and forget it."""
        lines = "".join(self._said).splitlines()
        self._said.clear()
        causes = [_SPEAKER.sub("", line).strip() for line in lines]
        return next((cause for cause in causes if cause), "it did not say why")

    def _note(self, level: int, text: bytes, _: Any) -> None:
        if level != _CONTINUED:
            self._level = level
        if self._level == _ERROR:
            line = text.decode(errors="replace")
            self._said = [*self._said[-20:], line]
            log.warning("llama.cpp: %s", line.rstrip())


class LlamaModel:
    """A model's weights in llama.cpp."""

    def __init__(self, path: Path, report: Callable[[float], bool] = lambda _: True) -> None:
        """Read a GGUF file; `report` gets the share that is read and returns whether to go on.

        Raises `LlamaCppError` with what llama.cpp said, also where `report` ended it.
        """
        self.library = library()
        functions = self.library.functions
        parameters = functions.llama_model_default_params()
        parameters.n_gpu_layers = 0
        on_progress = functions.llama_progress_callback(lambda share, _: report(share))
        parameters.progress_callback = on_progress
        self.library.said()  # of something earlier
        self.pointer = functions.llama_model_load_from_file(os.fsencode(path), parameters)
        if not self.pointer:
            raise LlamaCppError(self.library.said())
        self._free = weakref.finalize(self, functions.llama_model_free, self.pointer)
        self.vocab_size = int(functions.llama_vocab_n_tokens(functions.llama_model_get_vocab(self.pointer)))


class LlamaContext:
    """A KV cache of one sequence, and what llama.cpp needs to compute behind it.

    Rows go into the first free cells, so a cell's place is its position as long as positions are only taken off the
    end. Not thread-safe.
    """

    def __init__(
        self, model: LlamaModel, slots: int, rows: int, threads: int, *, flash: bool = True, stock: bool = False
    ) -> None:
        """Make room for `slots` tokens, and for `rows` in one pass. With `stock` attention and cache are those that
        llama.cpp chooses itself. Raises `MemoryError`."""
        self._model = model
        self._functions = functions = model.library.functions
        parameters = functions.llama_context_default_params()
        parameters.n_ctx = max(slots, _LEAST_SLOTS)
        parameters.n_batch = parameters.n_ubatch = parameters.n_outputs_max = rows
        parameters.n_seq_max = 1
        parameters.n_threads = parameters.n_threads_batch = threads
        if not flash:
            parameters.flash_attn_type = functions.LLAMA_FLASH_ATTN_TYPE_DISABLED
        elif not stock:
            parameters.flash_attn_type = functions.LLAMA_FLASH_ATTN_TYPE_ENABLED
            parameters.type_k, parameters.type_v = _KEYS, _VALUES
        parameters.swa_full = True  # sliding layers keep all keys, so that positions can be taken off the end
        parameters.offload_kqv = parameters.op_offload = False
        parameters.no_perf = True
        self._pointer = functions.llama_init_from_model(model.pointer, parameters)
        if not self._pointer:
            raise MemoryError(f"llama.cpp cannot allocate memory for {slots} tokens: {model.library.said()}")
        self._free = weakref.finalize(self, _free_context, functions, self._pointer, model)
        self._memory = functions.llama_get_memory(self._pointer)
        self.slots = slots
        self._token_ids = np.zeros(rows, np.int32)
        self._positions = np.zeros(rows, np.int32)
        self._wanted = np.zeros(rows, np.int8)
        self._steps = np.arange(rows, dtype=np.int32)
        self._batch = self._make_batch(rows)

    def _make_batch(self, rows: int) -> Any:
        """A batch over our own arrays, whose rows all belong to sequence 0."""
        structure = self._functions.llama_batch
        kinds = dict(structure._fields_)
        self._counts = (ctypes.c_int32 * rows)(*[1] * rows)
        self._sequence = (ctypes.c_int32 * 1)(0)
        to_whole = ctypes.POINTER(ctypes.c_int32)
        self._sequences = (to_whole * rows)(*[ctypes.cast(self._sequence, to_whole)] * rows)
        return structure(
            n_tokens=0,
            token=ctypes.cast(self._token_ids.ctypes.data, kinds["token"]),
            embd=None,
            pos=ctypes.cast(self._positions.ctypes.data, kinds["pos"]),
            n_seq_id=ctypes.cast(self._counts, kinds["n_seq_id"]),
            seq_id=ctypes.cast(self._sequences, kinds["seq_id"]),
            logits=ctypes.cast(self._wanted.ctypes.data, kinds["logits"]),
        )

    def close(self) -> None:
        """Give the memory back."""
        self._free()

    def decode(self, token_ids: Sequence[int], start: int, wanted: Sequence[int] | slice) -> None:
        """Compute rows for tokens at the positions from `start` on, and the logits of those `wanted`.

        Raises `LlamaCppError` or `MemoryError`; what the cache holds from `start` on is unknown then.
        """
        rows = len(token_ids)
        self._token_ids[:rows] = token_ids
        self._positions[:rows] = self._steps[:rows] + start
        self._wanted[:rows] = 0
        self._wanted[:rows][wanted] = 1
        self._batch.n_tokens = rows
        result = self._functions.llama_decode(self._pointer, self._batch)
        if result == 0:
            return
        said = self._model.library.said()
        if result == _NO_MEMORY:
            raise MemoryError(f"llama.cpp cannot allocate memory for a pass: {said}")
        raise LlamaCppError(f"llama.cpp could not compute {rows} rows at position {start} (code {result}: {said})")

    def read_logits(self, address: int, rows: int) -> None:
        """Copy the logits of the first so many wanted rows of the last pass to `address`, as float32."""
        source = self._functions.llama_get_logits(self._pointer)
        ctypes.memmove(address, source, rows * self._model.vocab_size * 4)

    def forget(self, start: int) -> None:
        """Take all positions from `start` on off the end."""
        if not self._functions.llama_memory_seq_rm(self._memory, 0, start, -1):
            raise LlamaCppError(f"llama.cpp could not forget what is behind {start} tokens")

    def copy_to(self, other: "LlamaContext") -> None:
        """Write all that this cache holds into another one, which is empty; bit by bit."""
        other.restore(self.save())

    def save(self) -> "ctypes.Array[ctypes.c_uint8]":
        """All that this cache holds."""
        size = int(self._functions.llama_state_seq_get_size(self._pointer, 0))
        state = (ctypes.c_uint8 * size)()
        if self._functions.llama_state_seq_get_data(self._pointer, state, size, 0) != size:
            raise LlamaCppError(f"llama.cpp could not copy a cache ({self._model.library.said()})")
        return state

    def restore(self, state: "ctypes.Array[ctypes.c_uint8]") -> None:
        """Hold what `save` gave; the cache is empty."""
        if not self._functions.llama_state_seq_set_data(self._pointer, state, len(state), 0):
            raise LlamaCppError(f"llama.cpp could not copy a cache ({self._model.library.said()})")

    def sampled_by(self, sampler: Any, row: int) -> int:
        """The token that a sampler of llama.cpp picks behind a wanted row of the last pass."""
        return int(self._functions.llama_sampler_sample(sampler, self._pointer, row))


class OwnLoop:
    """llama.cpp as it decodes by itself, for comparison: its own cache and its own greedy sampler."""

    def __init__(self, model: LlamaModel, context_length: int, threads: int) -> None:
        functions = model.library.functions
        self._context = LlamaContext(model, context_length + _OWN_BATCH, _OWN_BATCH, threads, stock=True)
        self._sampler = functions.llama_sampler_chain_init(functions.llama_sampler_chain_default_params())
        self._free = weakref.finalize(self, functions.llama_sampler_free, self._sampler)
        functions.llama_sampler_chain_add(self._sampler, functions.llama_sampler_init_greedy())
        self._length = 0

    def prefill(self, token_ids: Sequence[int]) -> int:
        """Read a prompt from its first token on, and return the token behind it."""
        self._context.forget(0)
        for start in range(0, len(token_ids), _OWN_BATCH):
            piece = token_ids[start : start + _OWN_BATCH]
            self._context.decode(piece, start, [len(piece) - 1])
        self._length = len(token_ids)
        return self._context.sampled_by(self._sampler, -1)

    def step(self, last_id: int, draft: Sequence[int] = ()) -> list[int]:
        """One pass over the last token and a draft; returns the tokens that were picked, as far as the draft is
        right."""
        self._context.decode([last_id, *draft], self._length, slice(None))
        picked: list[int] = []
        for row, proposed in enumerate([*draft, None]):
            picked.append(self._context.sampled_by(self._sampler, row))
            if picked[-1] != proposed:
                break
        self._length += len(picked)
        if len(picked) <= len(draft):
            self._context.forget(self._length)
        return picked


def _free_context(functions: Any, pointer: Any, model: LlamaModel) -> None:
    """Free a context; the model is an argument so that it is still there."""
    functions.llama_free(pointer)
