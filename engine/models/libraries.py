"""What of transformers is used beyond its documented interface.

`tests/engine/models/test_libraries.py` says which of these is gone with a new version.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from engine.events import LoadProgress
from engine.models.network import settings_in_words
from engine.models.progress import Report

_WEIGHTS_BAR = "Loading weights"  # what transformers writes before its bar
_NOISY_LOGGERS = (
    "bitsandbytes.autograd._functions",  # at every layer of every forward pass where the dtype is not float16
    "bitsandbytes.backends.cpu.ops",  # at its import, of a package for 4 bits that it would fetch from the Hub
)


def quiet_libraries() -> None:
    """Send what the libraries say to the log, not to the terminal. Raises `NetworkUnavailable`: see above."""
    with settings_in_words("The transformers library cannot start"):
        from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.disable_default_handler()
    transformers_logging.enable_propagation()
    for name in _NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


class Bar:
    """An iterable that reports its progress, in place of the bar that transformers shows while it reads weights."""

    def __init__(self, items: Iterable[Any], report: Report, name: str) -> None:
        self._items = list(items)
        self._report = report
        self._name = name

    def __iter__(self) -> Iterator[Any]:
        total = len(self._items)
        step = max(1, total // 50)  # a person sees no more
        for done, item in enumerate(self._items):
            if done % step == 0:
                self._report(LoadProgress(stage="weights", message=f"Loading {self._name}", done=done, total=total))
            yield item
        self._report(LoadProgress(stage="weights", message=f"Loading {self._name}", done=total, total=total))


@contextmanager
def weights_progress(report: Report, name: str) -> Iterator[None]:
    """Report the weights that transformers reads inside the block."""
    from transformers.utils import logging as transformers_logging

    def bar(factory: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if options.get("desc") == _WEIGHTS_BAR and args:
            return Bar(args[0], report, name)
        return factory(*args, **options)

    previous = transformers_logging.set_tqdm_hook(bar)
    try:
        yield
    finally:
        transformers_logging.set_tqdm_hook(previous)


def lines_of(exc: BaseException) -> list[str]:
    """What an exception says: a library's summary comes first, and the reason last."""
    return [line.strip() for line in str(exc).splitlines() if line.strip()] or [type(exc).__name__]
