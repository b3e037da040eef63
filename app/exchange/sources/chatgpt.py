"""ChatGPT: `conversations.json` of its export, a list of trees."""

from typing import Any

from app.exchange.sources.building import Building, Found, Spoken, date_of, dict_of, key_of, list_of, text_of, thought

NAME = "ChatGPT"
_SPOKEN: dict[str, Spoken] = {"user": "user", "assistant": "assistant"}
_OTHER = {
    "code": "tool calls",
    "execution_output": "tool results",
    "user_editable_context": "custom instructions",
    "model_editable_context": "memories",
    "tether_browsing_display": "tool results",
    "tether_quote": "quoted pages",
    "system_error": "error messages",
}


def is_one(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("mapping"), dict)


def read(value: dict[str, Any]) -> Found | None:
    built = Building()
    for key, entry in value["mapping"].items():
        entry = dict_of(entry)
        _message(built, str(key), key_of(entry.get("parent")), dict_of(entry.get("message")))
    tip = key_of(value.get("current_node"))
    return built.found(value.get("title"), date_of(value.get("create_time")), date_of(value.get("update_time")), tip)


def _message(built: Building, key: str, parent: str | None, message: dict[str, Any]) -> None:
    role = text_of(dict_of(message.get("author")).get("role"))
    content, metadata = dict_of(message.get("content")), dict_of(message.get("metadata"))
    kind = text_of(content.get("content_type"))
    if not message or (role == "system" and not _text(built, content).strip()):
        built.skip(key, parent)
        return
    if metadata.get("is_visually_hidden_from_conversation") is True or message.get("weight") == 0:
        built.skip(key, parent, _OTHER.get(kind, "hidden messages"))
        return
    if role not in _SPOKEN:
        built.skip(key, parent, "system messages" if role == "system" else "tool results")
        return
    if message.get("recipient", "all") not in ("all", None):
        built.skip(key, parent, "tool calls")
        return
    if kind == "thoughts":
        thoughts = (dict_of(one) for one in list_of(content.get("thoughts")))
        text = thought("\n\n".join(filter(None, [text_of(one.get("content")) for one in thoughts])))
    elif kind in ("text", "multimodal_text", ""):
        text = _text(built, content)
    elif kind == "reasoning_recap":
        text = ""
    else:
        built.skip(key, parent, _OTHER.get(kind, f"“{kind[:40]}” parts"))
        return
    if files := list_of(metadata.get("attachments")):
        built.left_out["attached files"] += len(files)
    built.add(key, parent, _SPOKEN[role], text, date_of(message.get("create_time")))


def _text(built: Building, content: dict[str, Any]) -> str:
    parts = []
    for part in list_of(content.get("parts")):
        if isinstance(part, str):
            parts.append(part)
        elif kind := text_of(dict_of(part).get("content_type")):
            if kind == "audio_transcription":
                parts.append(text_of(part.get("text")))
            else:
                built.left_out["images" if "image" in kind else "recordings"] += 1
    return "\n".join(filter(None, parts)) or text_of(content.get("text"))
