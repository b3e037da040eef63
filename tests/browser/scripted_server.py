"""The real server and page over a scripted engine: `python tests/browser/scripted_server.py HOME [PORT]`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from app.home import Home
from app.server import serve
from app.store import Store
from engine.config import ModelSpec
from tests.scripted import ScriptedEngine


def main(root: str, port: str | None = None) -> int:
    folder = Path(root)
    home = Home(data=folder, logs=folder / "logs", cache=folder / "cache").create()
    return serve(
        home,
        ScriptedEngine(delay_s=0.03),
        lambda: Store(home.database),
        port=int(port) if port else None,
        open_browser=False,
        initial_spec=ModelSpec(),
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
