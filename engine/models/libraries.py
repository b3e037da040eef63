"""What of transformers is used beyond its documented interface, and what may keep the libraries from starting.

`tests/engine/models/test_libraries.py` says which of these is gone with a new version.
"""

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from engine.errors import EngineError, NetworkUnavailable
from engine.events import LoadProgress

Report = Callable[[LoadProgress], None]

_WEIGHTS_BAR = "Loading weights"  # what transformers writes before its bar
_NOISY_LOGGER = "bitsandbytes.autograd._functions"
_SETTINGS = re.compile(
    r"((all|https?|no)_proxy|ssl_cert_(file|dir)|hf_\w+|huggingface_\w+|transformers_\w+)", re.IGNORECASE
)


def network_settings() -> list[str]:
    """The environment's variables that decide whether and how the Hub is reached."""
    return sorted(name for name, value in os.environ.items() if value and _SETTINGS.fullmatch(name))


@contextmanager
def settings_in_words(what: str) -> Iterator[None]:
    """Around what only starts a library: turn its failure into one sentence that names the settings it reads.

    `what` begins the sentence, as in "The Hub's client cannot start". Raises `NetworkUnavailable`.
    """
    try:
        yield
    except EngineError:
        raise
    except Exception as exc:  # libraries read the environment with int(), open() and the like
        names = network_settings()
        named = [name for name in names if _is_named(os.environ[name], str(exc))] or names
        found = f"{' or '.join(named)} in the environment" if named else "the system's proxy settings"
        reason = next(iter(str(exc).splitlines()), "").split(". ")[0].rstrip(".") or type(exc).__name__
        raise NetworkUnavailable(f"{what}: {reason}. Correct or unset {found}, and try again.") from exc


def _is_named(value: str, sentence: str) -> bool:
    """Whether an exception's sentence quotes a setting, or the kind of proxy that it names."""
    kind = re.match(r"(socks)\w*://", value.strip())
    return value.strip() in sentence or (kind is not None and kind[1].upper() in sentence)


def quiet_libraries() -> None:
    """Send what the libraries say to the log, not to the terminal. Raises `NetworkUnavailable`: see above."""
    with settings_in_words("The transformers library cannot start"):
        from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.disable_default_handler()
    transformers_logging.enable_propagation()
    # Said at every layer of every forward pass where the dtype is not float16:
    logging.getLogger(_NOISY_LOGGER).setLevel(logging.ERROR)


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
