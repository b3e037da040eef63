"""The line on the trained drafter under the model picker, in words."""

from typing import Any

from app.chat.loading import ModelState
from app.chat.trainer import Cost, TrainingState
from app.store.figures import KeptRun
from app.texts import decimal, tr
from app.view.figures import VERY_SMALL, about, size
from app.view.report import sources
from engine.events import ModelInfo

HIDDEN: dict[str, Any] = {
    "sentence": "",
    "button": "",
    "action": "",
    "second": "",
    "second_action": "",
    "second_asks": "",
    "progress": None,
    "running": False,
    "tone": "",
}


def _stage(stage: str) -> str:
    match stage:
        case "":
            return tr("trainer.loading")
        case "answers":
            return tr("trainer.answers")
        case "states":
            return tr("trainer.states")
        case "heads":
            return tr("trainer.heads")
        case "calibrate":
            return tr("trainer.calibrate")
    return stage


def trainer_line(
    state: TrainingState | None, model: ModelState, cost: Cost | None, kept: list[KeptRun]
) -> dict[str, Any]:
    """What is said and offered; nothing where no drafter can be trained. `kept`: the answers of this chat."""
    info = model.info
    if state is not None and (state.status != "done" or state.sequence == model.load.sequence):
        return HIDDEN | _of_training(state, info)
    if info is None:
        return HIDDEN
    if info.drafter_pack:
        return HIDDEN | {"sentence": f"{tr('trainer.drafts_along', name=info.drafter_pack)} {gained(kept)}".rstrip()}
    if cost is None:
        return HIDDEN
    time, disk = about(cost.seconds), size(cost.disk_bytes)
    sentence = tr("trainer.none", name=info.name, time=time, disk=disk)
    if info.num_parameters < VERY_SMALL:
        sentence = tr("trainer.none_small", name=info.name, time=time, disk=disk)
    return HIDDEN | {"sentence": sentence, "button": tr("trainer.train"), "action": "train"}


def _of_training(state: TrainingState, info: ModelInfo | None) -> dict[str, Any]:
    name, percent = state.order.name, f"{100 * state.share:.0f}"
    asks = tr("trainer.cancel_asks", name=name)
    if state.share:
        asks = tr("trainer.cancel_asks_at", name=name, percent=percent)
    cancel = {"second": tr("line.cancel"), "second_action": "cancel", "second_asks": asks}
    if state.status in ("running", "resting"):
        return {
            "sentence": _running(state, name, percent),
            "button": tr("trainer.pause"),
            "action": "pause",
            **cancel,
            "progress": state.share,
            "running": True,
        }
    if state.status == "paused":
        sentence = (
            tr("trainer.paused_at", name=name, percent=percent) if state.share else tr("trainer.paused", name=name)
        )
        return {"sentence": sentence, "button": tr("trainer.resume"), "action": "resume", **cancel}
    if state.status == "failed":
        asks = tr("trainer.discard_asks", name=name)
        if state.share:
            asks = tr("trainer.discard_asks_at", name=name, percent=percent)
        discard = cancel | {"second": tr("trainer.discard"), "second_asks": asks}
        return {"sentence": state.error, "tone": "bad", "button": tr("line.try_again"), "action": "resume", **discard}
    sentence = tr("trainer.trained", name=name)
    if state.tokens_per_round:
        sentence = tr("trainer.trained_brings", name=name, tokens=decimal(state.tokens_per_round, 2))
    if info is not None and info.name == name:
        sentence = f"{sentence} {tr('trainer.load_again')}"
        return {"sentence": sentence, "button": tr("line.load_again"), "action": "load"}
    return {"sentence": f"{sentence} {tr('trainer.used_when_loaded')}"}


def _running(state: TrainingState, name: str, percent: str) -> str:
    stage = _stage(state.stage)
    sentence = tr("trainer.running", name=name, stage=stage, percent=percent)
    if state.seconds_left is not None:
        left = about(state.seconds_left)
        sentence = tr("trainer.running_left", name=name, stage=stage, percent=percent, time=left)
    if state.status != "resting":
        return sentence
    rests = tr("trainer.rests")
    if state.memory_bytes:
        rests = tr("trainer.rests_holding", size=size(state.memory_bytes))
    return f"{sentence} {rests}"


def gained(kept: list[KeptRun]) -> str:
    """What trained drafts brought in a chat."""
    listed = sources(kept)["listed"]
    count = sum(each["tokens"] for each in listed)
    of_it = sum(each["tokens"] for each in listed if each["kind"] == "trained")
    if not count:
        return ""
    return tr("trainer.gained", trained=of_it, all=count, percent=f"{100 * of_it / count:.0f}")
