"""The loaded model in words: its facts, its certificate, how far its loading is."""

from typing import Any

from app.chat.loading import ModelState
from app.chat.offers import Offer
from app.view import words
from app.view.figures import about, parameters, size
from app.view.listing import NEW_CHAT
from app.view.live import Live, preparing_sentence
from app.view.remote import server_badge, server_detail, server_words, where
from engine.config import Exactness
from engine.events import LoadProgress, ModelInfo
from engine.metrics import ratio


def badge(info: ModelInfo, exactness: Exactness, preparing: LoadProgress | None = None) -> dict[str, str] | None:
    """The certificate in words, claiming no more than the probe showed; None where there was no probe."""
    if info.server is not None:
        return server_badge(info.server)
    if info.provisional:
        return _provisional_badge(preparing)
    if info.exact is None:
        return None
    certificate = info.certificate(exactness)
    widths = ", ".join(str(width) for width in certificate.widths)
    if certificate.tier == "C":
        return {
            "kind": "rounding",
            "label": "equal up to rounding",
            "explanation": "The fastest kernels are used. They round differently for one token and for several, so an "
            "answer with drafting equals the one without except where two tokens were almost equally likely. "
            "Choose “exact” in the settings for the same tokens, bit for bit.",
        }
    if certificate.tier == "A":
        how = "Checking one token or several at once gave bit-equal results at every width that was measured"
    else:
        how = f"The application uses only the widths whose results were bit-equal when it measured them ({widths})"
    cost = info.exact_cost or 1.0
    costs = f" This costs {cost - 1:.0%} against the fastest kernels." if cost > 1.02 else ""
    return {
        "kind": "exact",
        "label": "same words guaranteed",
        "explanation": "Drafting on or off gives the same words, token for token (bit-exact). "
        f"{how}, on this machine with this model.{costs}",
    }


def _provisional_badge(preparing: LoadProgress | None) -> dict[str, str]:
    plain = "one token at a time, the same with drafting on or off"
    if preparing is None:
        why = f"The check that drafting needs failed on this machine, so it answers without drafting: {plain}."
        return {"kind": "rounding", "label": "not certified", "explanation": why}
    why = (
        "While nobody asks, the application checks which ways of drafting change no token, and measures what they "
        f"cost. Until that has ended it answers without drafting: {plain}."
    )
    done = f" {100 * preparing.done // preparing.total} %" if preparing.total else ""
    return {"kind": "checking", "label": f"checking drafts{done}", "explanation": why}


def page_header(
    conversation_id: int | None,
    title: str,
    info: ModelInfo | None,
    exactness: Exactness,
    loading: str,
    preparing: LoadProgress | None = None,
) -> dict[str, Any]:
    """Title, model and certificate; `loading` stands in the model's place until there is one."""
    head: dict[str, Any] = {"conversation": conversation_id, "title": title or NEW_CHAT, "badge": None}
    head |= {"where": where(info), "server": server_words(info)}
    head["tips"] = {"compare": words.COMPARE_TIP, "drafting": words.DRAFTING_TIP}
    if info is None:
        return head | {"model": loading or "no model loaded", "model_detail": ""}
    name = info.name if info.has_chat_template else f"{info.name} (completes text, no chat template)"
    return head | {"model": name, "model_detail": model_detail(info), "badge": badge(info, exactness, preparing)}


def model_detail(info: ModelInfo | None) -> str:
    """What a loaded model is, one fact a line."""
    if info is None:
        return ""
    if info.server is not None:
        return server_detail(info, info.server)
    quant = "" if info.quant == "none" else f", {info.quant}"
    facts = [
        f"{info.architecture}, {parameters(info.num_parameters)} parameters, {size(info.weights_bytes)}",
        f"{info.dtype}{quant} on {info.device_name}",
        *([info.backend_reason] if info.backend == "llama-cpp" else []),
        f"context {info.context_length:,} tokens",
        *([f"drafts with the trained pack {info.drafter_pack}, too"] if info.drafter_pack else []),
        *([] if info.has_chat_template else ["no chat template: it completes your text as it stands"]),
        *info.notes,
    ]
    return "\n".join(facts)


def load_sentence(progress: LoadProgress) -> str:
    """Where loading stands: `loading weights 40 %`."""
    done, total = progress.done, progress.total
    if progress.stage == "weights" and total and done >= total:
        return "weights are read, preparing the model"
    if progress.stage == "weights" and total:
        return f"loading weights {100 * done // total} %{_left(progress)}"
    if progress.stage == "download" and total:
        return f"downloading {size(done)} of {size(total)}{_left(progress)}"
    message = progress.message.rstrip(".")
    share = f", {100 * done // total} %" if total and progress.seconds_left is not None else ""
    return f"{message[:1].lower()}{message[1:]}{share}{_left(progress)}"


def _left(progress: LoadProgress) -> str:
    return f", {about(progress.seconds_left)}" if progress.seconds_left is not None else ""


def _loading(progress: LoadProgress | None) -> Live:
    if progress is None:
        return Live(phase="loading", sentence="starting the engine")
    fraction = None if progress.total is None else ratio(progress.done, progress.total)
    return Live(phase="loading", sentence=load_sentence(progress), progress=fraction)


def load_live(model: ModelState) -> Live | None:
    """The speed line while a model is loaded, or where none could be; None when there is nothing to say."""
    if model.load.running:
        return _loading(model.load.progress)
    if model.reloading:
        step = _loading(model.reload_progress) if model.reload_progress is not None else None
        where = f" ({step.sentence})" if step else ""
        sentence = f"the engine stopped: the answer was kept, and the model is being loaded again{where}"
        return Live(phase="loading", sentence=sentence, progress=step.progress if step else None)
    if model.load.error is not None and model.info is None:
        return Live(phase="problem", sentence=model.load.error)
    return None


def loading_words(model: ModelState) -> str:
    """Where loading stands, empty when nothing is loaded."""
    live = load_live(model)
    return live.sentence if live is not None and live.phase == "loading" else ""


def picker_state(model: ModelState) -> dict[str, Any]:
    """What stands under the model picker."""
    live, info = load_live(model), model.info
    if live is None:
        sentence = f"{info.name} is loaded." if info else "No model is loaded."
        if info is not None and model.preparing is not None:
            said = preparing_sentence(model.preparing)
            sentence = f"{sentence} {said[:1].upper()}{said[1:]}."
        return {"sentence": sentence, "detail": model_detail(info), "progress": None, "tone": "", "loading": False}
    tone = "bad" if live.phase == "problem" else ""
    sentence = live.sentence[:1].upper() + live.sentence[1:]
    return {"sentence": sentence, "detail": "", "progress": live.progress, "tone": tone, "loading": model.loading}


def notices(model: ModelState, warning: str | None) -> list[str]:
    """What a person should know of this start and of the model, a sentence each; `warning` is the launcher's."""
    found = [warning, model.load.notice, *(model.info.notes if model.info else ())]
    return [sentence for sentence in found if sentence]


def offer_label(offer: Offer) -> str:
    """A model that another program keeps on this disk, as the picker names it."""
    return f"{offer.name} ({offer.program}, {size(offer.size_bytes)}, {offer.fit})"


def process_size(num_bytes: int | None) -> str | None:
    """What the engine's process holds in main memory, as the meters say it."""
    return None if num_bytes is None else f"the engine uses {size(num_bytes)} of RAM"
