"""Which pack a model drafts with: the one that is named, or the one that belongs to it."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from engine.errors import UnusablePack
from engine.models.identity import ModelIdentity
from engine.trained.pack import CONFIG, Pack, check_fits, read_config, read_pack, require_memory

log = logging.getLogger(__name__)

AUTO, NONE = "auto", "none"
IN_MODEL = "drafter"  # a folder of this name in the model's own
_SHIPPED = Path(__file__).resolve().parents[2] / "assets"


def find_pack(
    choice: str, identity: Callable[[], ModelIdentity], model: Path, packs: Path | None, device: torch.device
) -> tuple[Pack | None, tuple[str, ...]]:
    """The pack for a model whose files are at `model`, to draft with on `device`, and notes on it.

    `choice` names a folder, or is "auto": the first pack that was trained for these very weights, in the folders of
    `packs`, in the model's own, or shipped. What is named and does not fit raises `UnusablePack`; what merely lies
    there is left out with a note.
    """
    if choice == NONE:
        return None, ()
    if choice != AUTO:
        pack = _read(Path(choice).expanduser(), identity(), device)
        return pack, _stale(pack, identity())
    notes: list[str] = []
    for folder in _folders(model, packs):
        try:
            if read_config(folder).model.weights != identity().weights:
                continue
            pack = _read(folder, identity(), device)
        except UnusablePack as exc:
            log.warning("%s", exc)
            notes.append(str(exc))
        else:
            return pack, tuple(notes)
    return None, tuple(notes)


def require_named(choice: str) -> None:
    """Raise `UnusablePack` where a folder is named that holds no pack, before its model is read."""
    if choice not in (AUTO, NONE):
        read_config(Path(choice).expanduser())


def _read(folder: Path, model: ModelIdentity, device: torch.device) -> Pack:
    """Read a pack, unless its description says already that it cannot be used."""
    config = read_config(folder)
    check_fits(folder, config.model, model)
    require_memory(folder, config, device)
    return read_pack(folder, config)


def _stale(pack: Pack, model: ModelIdentity) -> tuple[str, ...]:
    if pack.config.model.weights == model.weights:
        return ()
    return (
        f"The drafter pack {pack.name} was trained for other weights of this model, or for another quantisation: its "
        "drafts may be right less often. Answers are the same.",
    )


def _folders(model: Path, packs: Path | None) -> Iterator[Path]:
    """Folders that may hold a pack."""
    places = [*(sorted(packs.glob(f"*/{CONFIG}")) if packs is not None else ())]
    places.append((model if model.is_dir() else model.parent) / IN_MODEL / CONFIG)
    places += sorted(_SHIPPED.glob(f"*/{IN_MODEL}/{CONFIG}"))
    for place in places:
        if place.is_file():
            yield place.parent
