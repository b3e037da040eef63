"""Models that can be downloaded, and the download that is under way, in words."""

from typing import Any

from app.chat.downloads import Download
from app.chat.offers import Downloadable
from app.texts import tr
from app.view.figures import about, fit_words, parameters, size
from engine.metrics import ratio

Card = dict[str, Any]


def downloadable_label(offer: Downloadable) -> str:
    """A model of the catalogue, as its list names it."""
    if offer.here:
        return tr("get.on_disk", name=offer.chat_model.name)
    amount = size(offer.chat_model.gguf_bytes)
    if offer.partial_bytes:
        return tr("get.partial", name=offer.chat_model.name, done=size(offer.partial_bytes), total=amount)
    fit = tr("get.best_fit") if offer.best else fit_words(offer.fit)
    return tr("get.offer", name=offer.chat_model.name, size=amount, fit=fit)


def downloadable_facts(offer: Downloadable) -> str:
    """What a person may want to know before a download."""
    model, config = offer.chat_model, offer.chat_model.shape.config
    best = f"{tr('get.is_best')} " if offer.best else ""
    facts = tr(
        "get.facts",
        parameters=parameters(model.shape.num_parameters),
        memory=size(offer.memory_bytes),
        context=config["max_position_embeddings"],
        licence=model.licence,
        repository=model.repository,
        size=size(model.gguf_bytes),
        quantisation=model.quantisation,
    )
    return f"{best}{tr('get.good_for', what=model.good_for)}\n\n{facts}"


def best_offer(offer: Downloadable | None) -> str:
    """What the button of the empty chat downloads; empty where there is nothing to offer."""
    if offer is None:
        return ""
    return tr("get.best_offer", name=offer.chat_model.name, size=size(offer.chat_model.gguf_bytes))


def download_card(download: Download | None) -> Card:
    """What stands under the list: `state` decides which buttons are there."""
    if download is None:
        return {"state": "none", "sentence": "", "progress": None, "tone": ""}
    name, have = download.model.name, tr("get.amount", done=size(download.done), total=size(download.total))
    tone = "bad" if download.status == "failed" else ""
    if download.status == "done":
        return {"state": "done", "sentence": tr("get.is_here", name=name), "progress": None, "tone": tone}
    if download.status == "running":
        sentence = f"{tr('get.running', name=name, amount=have)}{_left(download)}"
        if download.done >= download.total:
            sentence = tr("get.checking", name=name)
    elif download.status == "paused":
        sentence = tr("get.paused", name=name, amount=have)
    else:
        sentence = download.error or tr("get.failed", name=name, amount=have)
    progress = ratio(download.done, download.total)
    return {"state": download.status, "sentence": sentence, "progress": progress, "tone": tone}


def _left(download: Download) -> str:
    return f", {tr('figure.left', time=about(download.seconds_left))}" if download.seconds_left is not None else ""
