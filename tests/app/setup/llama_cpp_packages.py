"""Tiny stand-ins for the binding to llama.cpp: a wheel, a source archive that may hang when it is built, an index."""

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

VERSION = "0.3.36"
WORKS = "def llama_backend_init(): pass\n"
BROKEN = "raise OSError('libgomp.so.1 is missing')\n"

BACKEND = """
import os, sys, time
def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    print("*** Configuring CMake...", os.environ["CMAKE_ARGS"], flush=True)
    for done in (1, 2, 3):
        print(f"[{done}/3] cc", flush=True)
        if os.path.exists("HANG"):
            child = os.fork()
            if child == 0:
                os.setpgid(0, 0)  # as ninja does with each compiler
                time.sleep(60)
                os._exit(0)
            import signal
            def end(*_):
                os.killpg(child, signal.SIGTERM)
                os._exit(2)
            signal.signal(signal.SIGTERM, end)
            print("*** Making wheel... pids", os.getpid(), child, flush=True)
            time.sleep(60)
    sys.path.insert(0, os.getcwd())
    import pack
    return pack.wheel(wheel_directory)
"""


def wheel(folder: Path, version: str = VERSION, module: str = WORKS) -> Path:
    """A wheel with the one module that the engine imports."""
    path = folder / f"llama_cpp_python-{version}-py3-none-any.whl"
    info = f"llama_cpp_python-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("llama_cpp/__init__.py", "import diskcache\n")
        archive.writestr("llama_cpp/llama_cpp.py", module)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def index(folder: Path, made: Path) -> str:
    """An index whose one package is that wheel; returns its address."""
    page = folder / "llama-cpp-python" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f'<a href="{made.as_uri()}">{made.name}</a>')
    return folder.as_uri()


def source(folder: Path, module: str = WORKS, *, hangs: bool = False) -> tuple[Path, str]:
    """A source archive that builds `wheel` without any tools; returns it and its SHA-256."""
    inner = wheel(folder, module=module)
    made = inner.read_bytes()
    inner.unlink()
    pack = (
        "from pathlib import Path\n"
        "def wheel(folder):\n"
        f"    name = 'llama_cpp_python-{VERSION}-py3-none-any.whl'\n"
        f"    (Path(folder) / name).write_bytes({made!r})\n"
        "    return name\n"
    )
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: {VERSION}\n",
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": BACKEND,
        "pack.py": pack,
        **({"HANG": ""} if hangs else {}),
    }
    path = folder / f"llama_cpp_python-{VERSION}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"llama_cpp_python-{VERSION}/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()
