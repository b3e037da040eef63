"""The real server and page over a scripted engine: `python scripted_server.py HOME PORT OPTIONS`.

OPTIONS is a JSON object of `ScriptedEngine`'s arguments; `crash_after` makes the first answer crash, `disk_pages`
lets the database grow to so many pages only, as a full disk does.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from app.home import Home
from app.server import serve
from app.store import Store
from engine.errors import EngineCrashed
from tests.scripted import ScriptedEngine


def main(root: str, port: str, options: str = "{}") -> int:
    folder = Path(root)
    home = Home(data=folder, logs=folder / "logs", cache=folder / "cache").create()
    arguments = json.loads(options)
    if (crash_after := arguments.pop("crash_after", None)) is not None:
        crash = EngineCrashed("The engine's process ended (killed by signal 9). The answer so far is kept.")
        arguments |= {"fail_after": crash_after, "error": crash}
    disk_pages = arguments.pop("disk_pages", None)

    def open_store() -> Store:
        store = Store(home.database)
        if disk_pages is not None:
            with store.transaction() as db:
                db.execute(f"PRAGMA max_page_count = {int(disk_pages)}")
        return store

    return serve(
        home,
        ScriptedEngine(**arguments),
        open_store,
        port=int(port),
        open_browser=False,
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
