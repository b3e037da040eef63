"""What the environment says of the network, and a library that cannot start because of it as one sentence."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import EngineError, NetworkUnavailable

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
