"""The package that carries the model of the first start: what it is called, whether it is there, whether it is whole.

Standard library only: the launcher imports it. `engine.models.bundled` finds the same file when it is loaded.
"""

import hashlib
import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledModel:
    """What `assets/smollm2/package.json` says: the package and, in it, the model's file."""

    package: str
    version: str
    download_mb: int
    file: str
    sha256: str

    @classmethod
    def read(cls, root: Path) -> "BundledModel | None":
        """The package that this copy of the application names; None where it names none."""
        path = root / "assets" / "smollm2" / "package.json"
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"

    def is_whole(self, site_packages: Path) -> bool:
        """Whether these packages have the model's file, with the content that was published; reads all of it."""
        for found in importlib.metadata.distributions(name=self.package, path=[str(site_packages)]):
            file = Path(str(found.locate_file(self.file)))
            if found.version == self.version and file.is_file():
                with file.open("rb") as stream:
                    return hashlib.file_digest(stream, "sha256").hexdigest() == self.sha256
        return False
