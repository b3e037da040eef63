"""Models that can be downloaded, and the download that is under way, in words."""

from typing import Any

from app.chat.downloads import Download
from app.chat.offers import Downloadable
from app.view.figures import about, parameters, size
from engine.metrics import ratio

Card = dict[str, Any]


def downloadable_label(offer: Downloadable) -> str:
    """A model of the catalogue, as its list names it."""
    if offer.here:
        return f"{offer.chat_model.name} (on this disk)"
    amount = size(offer.chat_model.gguf_bytes)
    if offer.partial_bytes:
        return f"{offer.chat_model.name} ({size(offer.partial_bytes)} of {amount})"
    return f"{offer.chat_model.name} ({amount}, {'best fit' if offer.best else offer.fit})"


def downloadable_facts(offer: Downloadable) -> str:
    """What a person may want to know before a download."""
    model, config = offer.chat_model, offer.chat_model.shape.config
    best = "The best fit for this machine. " if offer.best else ""
    return (
        f"{best}Good for {model.good_for}.\n\n{parameters(model.shape.num_parameters)} parameters, about "
        f"{size(offer.memory_bytes)} of memory, {config['max_position_embeddings']:,} tokens of context. "
        f"Licence: {model.licence}. From {model.repository}, {size(model.gguf_bytes)} ({model.quantisation})."
    )


def best_offer(offer: Downloadable | None) -> str:
    """What the button of the empty chat downloads; empty where there is nothing to offer."""
    if offer is None:
        return ""
    return f"{offer.chat_model.name}, the best fit for this machine ({size(offer.chat_model.gguf_bytes)})"


def download_card(download: Download | None) -> Card:
    """What stands under the list: `state` decides which buttons are there."""
    if download is None:
        return {"state": "none", "sentence": "", "progress": None, "tone": ""}
    name, have = download.model.name, f"{size(download.done)} of {size(download.total)}"
    tone = "bad" if download.status == "failed" else ""
    if download.status == "done":
        return {"state": "done", "sentence": f"{name} is on this disk.", "progress": None, "tone": tone}
    if download.status == "running":
        sentence = f"Downloading {name}: {have}{_left(download)}"
        if download.done >= download.total:
            sentence = f"Checking {name}"
    elif download.status == "paused":
        sentence = f"{name} is paused at {have}."
    else:
        sentence = download.error or f"The download of {name} failed at {have}."
    progress = ratio(download.done, download.total)
    return {"state": download.status, "sentence": sentence, "progress": progress, "tone": tone}


def _left(download: Download) -> str:
    return f", {about(download.seconds_left)} left" if download.seconds_left is not None else ""
