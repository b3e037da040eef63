"""The line on llama.cpp under the model picker, in words."""

from typing import Any

from app.chat.llama_cpp import LlamaCppState
from app.chat.loading import ModelState
from app.setup.llama_cpp.steps import Step
from app.texts import tr
from app.view.figures import VERY_SMALL, about
from engine.metrics import ratio

HIDDEN: dict[str, Any] = {"sentence": "", "button": "", "action": "", "progress": None, "running": False, "tone": ""}


def llama_cpp_line(state: LlamaCppState | None, model: ModelState, *, gguf: bool) -> dict[str, Any]:
    """What is said and offered; nothing where it would not help. `gguf`: the loaded model is a GGUF file."""
    spec = model.load.spec
    if state is None:
        return HIDDEN
    if state.step is not None:
        return _running(state.step)
    if state.error is not None:
        return HIDDEN | {"sentence": state.error, "tone": "bad", "button": tr("line.try_again"), "action": "install"}
    if model.info is None or model.info.device != "cpu" or (spec is not None and spec.backend == "torch"):
        return HIDDEN
    gguf = gguf and (
        spec is None or (spec.quant in ("auto", "none") and spec.dtype == "auto")
    )  # else torch computes it
    if state.ready:
        if state.installed_at != model.load.sequence or not gguf or model.info.backend == "llama-cpp":
            return HIDDEN
        sentence = tr("llama_cpp.installed")
        return HIDDEN | {"sentence": sentence, "button": tr("line.load_again"), "action": "load"}
    if state.found is not None:
        sentence = tr("llama_cpp.other_version", found=state.found, wanted=state.wanted)
    else:
        small = model.info.num_parameters < VERY_SMALL
        this = tr("llama_cpp.missing_small") if small else tr("llama_cpp.missing_this")
        sentence = this if gguf else tr("llama_cpp.missing_gguf")
    if state.by_hand is not None:
        return HIDDEN | {"sentence": tr("llama_cpp.by_hand", sentence=sentence, command=state.by_hand)}
    return HIDDEN | {"sentence": sentence, "button": tr("line.install"), "action": "install"}


def _running(step: Step) -> dict[str, Any]:
    left = f", {tr('figure.left', time=about(step.seconds_left))}" if step.seconds_left is not None else ""
    return HIDDEN | {
        "sentence": tr("llama_cpp.running", step=f"{step.message}{left}"),
        "button": tr("line.cancel"),
        "action": "cancel",
        "progress": ratio(step.done, step.total) if step.total else None,
        "running": True,
    }
