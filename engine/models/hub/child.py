"""One download in a process of its own: `python -m engine.models.hub.child MODEL [STAMPS]`.

    -> {"message": "...", "done": 1048576, "total": 639446688}      lines of JSON on standard output, as it goes on
    -> {"path": "..."} | {"error": "one sentence"}                  last

The environment decides where the Hub is and how it is reached. What has arrived is kept, however the process ends; it
ends when its standard input does, so it never outlives the process that started it.
"""

import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.events import LoadProgress
from engine.models.catalog import resolve
from engine.models.hub.download import fetch

log = logging.getLogger(__name__)


def main(arguments: list[str]) -> int:
    """Download the model that the first argument names; returns the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to everything in a terminal; the parent says when to end
    stop = threading.Event()
    threading.Thread(target=_watch, args=(stop,), daemon=True).start()
    model, stamps = arguments[0], Path(arguments[1]) if arguments[1:] else None
    try:
        location = resolve(model)
        if location.hub_id is None:
            raise ValueError(f"{model} is on this machine already.")
        path = fetch(location.hub_id, _report, location.gguf, cancelled=stop.is_set, stamps=stamps)
    except (EngineError, ValueError) as exc:
        _say(error=str(exc))
        return 1
    except Exception:  # the outermost frame: the person who waits must hear of it
        log.exception("the download of %s failed", model)
        _say(error=f"{model} could not be downloaded because of an internal error; the log has the details.")
        return 1
    _say(path=str(path))
    return 0


def _watch(stop: threading.Event) -> None:
    while os.read(0, 2**16):  # not the buffered stream, whose lock the interpreter wants when it ends
        pass
    stop.set()


def _report(progress: LoadProgress) -> None:
    _say(message=progress.message, done=progress.done, total=progress.total)


def _say(**values: Any) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
