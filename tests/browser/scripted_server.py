"""The real server and page over a scripted engine: `python scripted_server.py HOME PORT OPTIONS`.

OPTIONS is a JSON object of `ScriptedEngine`'s arguments; `disk_pages` lets the database grow to so many pages only, as
a full disk does; with `servers` the page reaches servers. With
`hold_after` an answer to a message with the word "hold" in it stands still after so many events, and with `hold_load`
every load does, until a file `release` is put into HOME; so nothing that a test looks at is over before it looks.
The page speaks `language`.
"""

import json
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from app.home import Home
from app.serve import serve
from app.servers import Servers
from app.store.store import Store
from app.texts import speak
from engine.api import EngineAPI, Running
from engine.config import GenerationRequest, ModelSpec
from engine.events import Event, LoadProgress
from engine.remote.either import EitherEngine
from engine.remote.engine import RemoteEngine
from tests.scripted import ScriptedEngine


class HeldEngine(ScriptedEngine):
    """Holds what it is told to hold."""

    def __init__(self, folder: Path, *, hold_after: int | None, hold_load: bool, **arguments: object) -> None:
        super().__init__(**arguments)  # type: ignore[arg-type]
        self._held_after, self._hold_load = hold_after, hold_load
        self._release = folder / "release"
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            if self._release.exists():
                self._release.unlink()
                self.release()
            time.sleep(0.02)

    def generate(self, request: GenerationRequest) -> Running[Event]:
        held = "hold" in request.messages[-1].text
        self.hold_after = self._held_after if held else None
        self._released.clear()
        return super().generate(request)

    def _load(self, spec: ModelSpec, stop: threading.Event) -> Generator[LoadProgress, None, None]:
        self._released.clear()
        for progress in super()._load(spec, stop):
            yield progress
            if self._hold_load and progress.stage == "weights":
                self._released.wait()


def main(root: str, port: str, options: str = "{}") -> int:
    folder = Path(root)
    home = Home(data=folder, logs=folder / "logs", cache=folder / "cache").create()
    arguments = json.loads(options)
    disk_pages = arguments.pop("disk_pages", None)
    hold_after, hold_load = arguments.pop("hold_after", None), arguments.pop("hold_load", False)

    speak(arguments.pop("language", "en"))

    servers = Servers(home.servers) if arguments.pop("servers", False) else None
    engine: EngineAPI = HeldEngine(folder, hold_after=hold_after, hold_load=hold_load, **arguments)
    if servers is not None:
        engine = EitherEngine(engine, RemoteEngine(servers))

    def open_store() -> Store:
        store = Store(home.database)
        if disk_pages is not None:
            with store.transaction() as db:
                db.execute(f"PRAGMA max_page_count = {int(disk_pages)}")
        return store

    return serve(
        home,
        engine,
        open_store,
        port=int(port),
        open_browser=False,
        servers=servers,
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
