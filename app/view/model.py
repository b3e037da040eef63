"""The loaded model in words: its facts, its certificate, how far its loading is."""

from typing import Any

from app.chat.contexts import ContextEstimate
from app.chat.loading import ModelState
from app.chat.offers import Offer
from app.texts import tr
from app.view.figures import about, fit_words, parameters, size
from app.view.live import Live, preparing_sentence
from app.view.remote import server_badge, server_detail, server_words, where
from engine.config import CHECKED_CONTEXT, Exactness, ModelSpec
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
            "label": tr("badge.rounding"),
            "explanation": tr("badge.rounding_why"),
        }
    how = tr("badge.all_widths") if certificate.tier == "A" else tr("badge.some_widths", widths=widths)
    cost = info.exact_cost or 1.0
    costs = f" {tr('badge.costs', percent=f'{100 * (cost - 1):.0f}')}" if cost > 1.02 else ""
    return {"kind": "exact", "label": tr("badge.exact"), "explanation": f"{how}{costs}"}


def _provisional_badge(preparing: LoadProgress | None) -> dict[str, str]:
    if preparing is None:
        return {"kind": "rounding", "label": tr("badge.failed"), "explanation": tr("badge.failed_why")}
    label = tr("badge.checking")
    if preparing.total:
        label = tr("badge.checking_at", percent=100 * preparing.done // preparing.total)
    return {"kind": "checking", "label": label, "explanation": tr("badge.checking_why")}


def page_header(
    conversation_id: int | None,
    title: str,
    info: ModelInfo | None,
    exactness: Exactness,
    loading: str,
    preparing: LoadProgress | None = None,
) -> dict[str, Any]:
    """Title, model and certificate; `loading` stands in the model's place until there is one."""
    head: dict[str, Any] = {"conversation": conversation_id, "title": title or tr("common.new_chat"), "badge": None}
    head |= {"where": where(info), "server": server_words(info)}
    head["thinking"] = info is None or info.has_thinking_switch
    head["tips"] = {"compare": tr("meters.compare_tip"), "drafting": tr("meters.drafting_tip")}
    if info is None:
        return head | {"model": loading or tr("model.none"), "model_detail": ""}
    short, adapter, _ = info.name.partition(" with ")  # the tooltip says it all
    name = short if info.has_chat_template else tr("model.completes", name=short)
    detail = f"{info.name}\n{model_detail(info)}" if adapter else model_detail(info)
    return head | {"model": name, "model_detail": detail, "badge": badge(info, exactness, preparing)}


def model_detail(info: ModelInfo | None) -> str:
    """What a loaded model is, one fact a line."""
    if info is None:
        return ""
    if info.server is not None:
        return server_detail(info, info.server)
    facts = [
        tr(
            "model.what",
            architecture=info.architecture,
            parameters=parameters(info.num_parameters),
            size=size(info.weights_bytes),
        ),
        tr("model.where", dtype=info.dtype, device=info.device_name)
        if info.quant == "none"
        else tr("model.where_quant", dtype=info.dtype, quant=info.quant, device=info.device_name),
        *([info.backend_reason] if info.backend == "llama-cpp" else []),
        tr("model.context", tokens=info.context_length),
        *([tr("model.pack", name=info.drafter_pack)] if info.drafter_pack else []),
        *([] if info.has_chat_template else [tr("model.no_template")]),
        *info.notes,
    ]
    return "\n".join(facts)


def load_sentence(progress: LoadProgress) -> str:
    """Where loading stands: `loading weights 40 %`."""
    done, total = progress.done, progress.total
    if progress.stage == "weights" and total and done >= total:
        return tr("model.weights_read")
    if progress.stage == "weights" and total:
        return f"{tr('model.loading_weights', percent=100 * done // total)}{_left(progress)}"
    if progress.stage == "download" and total:
        return f"{tr('model.downloading', done=size(done), total=size(total))}{_left(progress)}"
    message = progress.message.rstrip(".")
    share = f", {100 * done // total} %" if total and progress.seconds_left is not None else ""
    return f"{message[:1].lower()}{message[1:]}{share}{_left(progress)}"


def _left(progress: LoadProgress) -> str:
    return f", {about(progress.seconds_left)}" if progress.seconds_left is not None else ""


def _loading(progress: LoadProgress | None) -> Live:
    if progress is None:
        return Live(phase="loading", sentence=tr("model.starting_engine"))
    fraction = None if progress.total is None else ratio(progress.done, progress.total)
    return Live(phase="loading", sentence=load_sentence(progress), progress=fraction)


def load_live(model: ModelState) -> Live | None:
    """The speed line while a model is loaded, or where none could be; None when there is nothing to say."""
    if model.load.running:
        return _loading(model.load.progress)
    if model.reloading:
        step = _loading(model.reload_progress) if model.reload_progress is not None else None
        where = f" ({step.sentence})" if step else ""
        sentence = f"{tr('model.reloading')}{where}"
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
        sentence = tr("model.is_loaded", name=info.name) if info else tr("model.is_not_loaded")
        if info is not None and model.preparing is not None:
            said = preparing_sentence(model.preparing)
            sentence = f"{sentence} {said[:1].upper()}{said[1:]}."
        return {
            "sentence": sentence,
            "detail": _with_auto(info, model.load.spec),
            "progress": None,
            "tone": "",
            "loading": False,
        }
    tone = "bad" if live.phase == "problem" else ""
    sentence = live.sentence[:1].upper() + live.sentence[1:]
    return {"sentence": sentence, "detail": "", "progress": live.progress, "tone": tone, "loading": model.loading}


def _with_auto(info: ModelInfo | None, spec: ModelSpec | None) -> str:
    """What the model is, and what “auto” in the picker came to."""
    if info is None or spec is None or info.server is not None:
        return model_detail(info)
    chosen = [(tr("model.quant"), spec.quant, info.quant), (tr("model.dtype"), spec.dtype, info.dtype)]
    auto = [tr("model.auto_chose", setting=name, value=got) for name, asked, got in chosen if asked == "auto"]
    return "\n".join([model_detail(info), *auto])


def notices(model: ModelState, warning: str | None) -> list[str]:
    """What a person should know of this start and of the model, a sentence each; `warning` is the launcher's."""
    found = [warning, model.load.notice, *(model.info.notes if model.info else ())]
    return [sentence for sentence in found if sentence]


def offer_label(offer: Offer) -> str:
    """A model that another program keeps on this disk, as the picker names it."""
    return tr(
        "model.offer",
        name=offer.name,
        program=offer.program,
        size=size(offer.size_bytes),
        fit=fit_words(offer.fit),
    )


def context_words(estimate: ContextEstimate) -> str:
    """What the model that is chosen would take at the context that is asked for, and what it would get."""
    tokens, memory, free = estimate.fitting, size(estimate.total_bytes), size(estimate.free_bytes)
    if not tokens:
        return tr("model.context_none", memory=memory, free=free)
    if tokens < estimate.context:
        return tr("model.context_shorter", wanted=estimate.context, tokens=tokens, memory=memory, free=free)
    if estimate.asked is not None and estimate.asked > estimate.trained:
        return tr("model.context_clipped", tokens=tokens, memory=memory, free=free)
    if tokens == estimate.trained:
        return tr("model.context_whole", tokens=tokens, memory=memory, free=free)
    said = tr("model.context_part", tokens=tokens, trained=estimate.trained, memory=memory, free=free)
    return f"{said} {tr('model.context_checked', tokens=CHECKED_CONTEXT)}" if tokens < CHECKED_CONTEXT else said


def process_size(num_bytes: int | None) -> str | None:
    """What the engine's process holds in main memory, as the meters say it."""
    return None if num_bytes is None else tr("model.ram", size=size(num_bytes))
