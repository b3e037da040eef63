"""The line on the trained drafter under the model picker, in words."""

from typing import Any

from app.chat.loading import ModelState
from app.chat.trainer import Cost, TrainingState
from app.store.figures import KeptRun
from app.view.figures import about, size
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
_STAGES = {
    "": "loading the model",
    "answers": "the model writes answers to learn from",
    "states": "its answers are read again",
    "heads": "the drafter learns",
    "calibrate": "the drafter is measured",
}


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
        return HIDDEN | {"sentence": f"The trained drafter {info.drafter_pack} drafts along. {gained(kept)}".rstrip()}
    if cost is None:
        return HIDDEN
    sentence = (
        f"No drafter has been trained for {info.name}. Training one on its own answers takes {about(cost.seconds)} "
        f"here, and {size(cost.disk_bytes)} of disk meanwhile. It rests while anybody chats, and changes no answer."
    )
    return HIDDEN | {"sentence": sentence, "button": "Train a drafter", "action": "train"}


def _of_training(state: TrainingState, info: ModelInfo | None) -> dict[str, Any]:
    name, percent = state.order.name, f"{100 * state.share:.0f} %"
    done = f"The {percent} that are done are" if state.share else "What it has is"
    lost = f"{done} deleted, and the next training begins anew."
    cancel = {"second": "Cancel", "second_action": "cancel", "second_asks": f"Cancel the training for {name}? {lost}"}
    if state.status in ("running", "resting"):
        left = f", {about(state.seconds_left)} left" if state.seconds_left is not None else ""
        sentence = f"Training a drafter for {name}: {_STAGES.get(state.stage, state.stage)}, {percent}{left}."
        if state.status == "resting":
            held = f", and holds {size(state.memory_bytes)} of memory" if state.memory_bytes else ""
            sentence += f" It rests while the model is in use{held}. Pause gives that back."
        return {
            "sentence": sentence,
            "button": "Pause",
            "action": "pause",
            **cancel,
            "progress": state.share,
            "running": True,
        }
    if state.status == "paused":
        at = f" at {percent}" if state.share else ""
        sentence = f"The training of a drafter for {name} is paused{at}. What it has is kept."
        return {"sentence": sentence, "button": "Resume", "action": "resume", **cancel}
    if state.status == "failed":
        discard = cancel | {"second": "Discard", "second_asks": f"Discard the training for {name}? {lost}"}
        return {"sentence": state.error, "tone": "bad", "button": "Try again", "action": "resume", **discard}
    brings = f": alone it brings {state.tokens_per_round:.2f} tokens a round" if state.tokens_per_round else ""
    sentence = f"The drafter for {name} is trained{brings}."
    if info is not None and info.name == name:
        return {"sentence": f"{sentence} Load the model again to use it.", "button": "Load again", "action": "load"}
    return {"sentence": f"{sentence} It is used when that model is loaded."}


def gained(kept: list[KeptRun]) -> str:
    """What trained drafts brought in a chat."""
    listed = sources(kept)["listed"]
    count = sum(each["tokens"] for each in listed)
    of_it = sum(each["tokens"] for each in listed if each["kind"] == "trained")
    if not count:
        return ""
    share = f"{100 * of_it / count:.0f} %"
    return f"In this chat {of_it:,} of the {count:,} guessed tokens that were right came from it ({share})."
