"""Exports as other programs write them, small."""

import json
from typing import Any


def node(key: str, parent: str | None, role: str = "", *parts: Any, **more: Any) -> dict[str, Any]:
    """A node of ChatGPT's tree; without a role its root."""
    message: dict[str, Any] | None = None
    if role:
        content = more.pop("content", {"content_type": "text", "parts": list(parts)})
        message = {
            "id": key,
            "author": {"role": role, "name": None, "metadata": {}},
            "create_time": 1720535245.5,
            "content": content,
            "status": "finished_successfully",
            "weight": 1.0,
            "metadata": {},
            "recipient": "all",
            "channel": None,
        } | more
    return {"id": key, "message": message, "parent": parent, "children": []}


def chatgpt(*nodes: dict[str, Any], tip: str, title: Any = "Trip to Porto") -> dict[str, Any]:
    return {
        "title": title,
        "create_time": 1720535245.5,
        "update_time": 1720535300.25,
        "mapping": {entry["id"]: entry for entry in nodes},
        "current_node": tip,
        "conversation_id": "6688-aa",
        "plugin_ids": None,
        "is_archived": False,
    }


CHATGPT = chatgpt(
    node("root", None),
    node("sys", "root", "system", ""),
    node(
        "ctx",
        "sys",
        "user",
        content={"content_type": "user_editable_context", "user_profile": "secret"},
        metadata={"is_visually_hidden_from_conversation": True},
    ),
    node(
        "q1",
        "ctx",
        "user",
        {"content_type": "image_asset_pointer", "asset_pointer": "file-service://x"},
        "What is on it?",
        content={
            "content_type": "multimodal_text",
            "parts": [{"content_type": "image_asset_pointer", "asset_pointer": "x"}, "What is on it?"],
        },
        metadata={"attachments": [{"name": "porto.jpg"}]},
    ),
    node("t1", "q1", "assistant", content={"content_type": "thoughts", "thoughts": [{"content": "A bridge."}]}),
    node("r1", "t1", "assistant", content={"content_type": "reasoning_recap", "content": "Thought for 5 s"}),
    node("c1", "r1", "assistant", content={"content_type": "code", "text": "search()"}, recipient="web"),
    node("o1", "c1", "tool", content={"content_type": "execution_output", "text": "found"}),
    node("a1", "o1", "assistant", "The Dom Luís bridge."),
    node("a2", "q1", "assistant", "A river."),
    node("q2", "a1", "user", "Thanks"),
    tip="q2",
)

OPEN_WEBUI = {
    "id": "c-1",
    "user_id": "u",
    "title": "Rust lifetimes",
    "chat": {
        "title": "Rust lifetimes",
        "models": ["qwen3:8b"],
        "params": {"system": "Answer briefly."},
        "history": {
            "messages": {
                "m1": {
                    "id": "m1",
                    "parentId": None,
                    "childrenIds": ["m2", "m3"],
                    "role": "user",
                    "content": "Explain <'a>",
                    "timestamp": 1720535245,
                    "files": [
                        {"type": "file", "name": "a.rs", "file": {"data": {"content": "fn f<'a>() {}"}}},
                        {"type": "image", "url": "data:image/png;base64,AA"},
                    ],
                },
                "m2": {
                    "id": "m2",
                    "parentId": "m1",
                    "childrenIds": [],
                    "role": "assistant",
                    "model": "qwen3:8b",
                    "content": '<details type="reasoning" done="true" duration="3">\n<summary>Thought for 3 seconds</summary>\n'
                    "&gt; Keep it short.\n</details>\nA lifetime is a name for a region.",
                    "timestamp": 1720535250,
                },
                "m3": {"id": "m3", "parentId": "m1", "role": "assistant", "content": "Second version"},
            },
            "currentId": "m2",
        },
        "messages": [],
        "timestamp": 1720535245000,
    },
    "created_at": 1720535245,
    "updated_at": 1720535260,
    "pinned": True,
}

LM_STUDIO = {
    "name": "Poem",
    "pinned": False,
    "createdAt": 1720535245500,
    "systemPrompt": "You rhyme.",
    "messages": [
        {
            "versions": [{"type": "singleStep", "role": "user", "content": [{"type": "text", "text": "A poem"}]}],
            "currentlySelected": 0,
        },
        {
            "versions": [
                {"type": "multiStep", "role": "assistant", "steps": [{"type": "contentBlock", "content": [{"type": "text", "text": "Old"}]}]},
                {
                    "type": "multiStep",
                    "role": "assistant",
                    "senderInfo": {"senderName": "qwen"},
                    "steps": [
                        {"type": "contentBlock", "style": {"type": "thinking"}, "content": [{"type": "text", "text": "moon, June"}]},
                        {"type": "contentBlock", "content": [{"type": "text", "text": "O moon"}], "genInfo": {}},
                        {"type": "debugInfoBlock", "debugInfo": "x"},
                    ],
                },
            ],
            "currentlySelected": 1,
        },
    ],
}  # fmt: skip

LLAMA_CPP = [
    {"type": "session", "version": 1, "id": "s-1", "name": "Sorting", "currNode": "3", "lastModified": 1720535260000},
    {"type": "message", "message": {"id": "0", "convId": "s-1", "type": "root", "role": "system", "content": "", "parent": None, "children": ["1"]}},
    {"type": "message", "message": {"id": "1", "convId": "s-1", "type": "text", "timestamp": 1720535245500, "role": "user", "content": "Sort it", "parent": "0", "children": ["2", "3"], "extra": [{"type": "TEXT", "name": "list.txt", "content": "b\na"}, {"type": "IMAGE", "name": "x.png", "base64Url": "data:"}]}},
    {"type": "message", "message": {"id": "2", "convId": "s-1", "type": "text", "role": "assistant", "content": "a, b", "parent": "1", "children": []}},
    {"type": "message", "message": {"id": "3", "convId": "s-1", "type": "text", "role": "assistant", "content": "a\nb", "reasoningContent": "By letter.", "toolCalls": "[]", "parent": "1", "children": [], "timings": {"predicted_n": 4}}},
]  # fmt: skip

LLAMA_CPP_OLD = {
    "conv": {"id": "s-1", "name": "Sorting", "currNode": "3", "lastModified": 1720535260000},
    "messages": [line["message"] for line in LLAMA_CPP[1:]],  # type: ignore[index]
}

JAN_THREAD = {
    "id": "t-1",
    "object": "thread",
    "title": "Greek",
    "assistants": [],
    "created": 1720535245,
    "updated": 1720535250,
}
JAN = [
    {"id": "m1", "thread_id": "t-1", "object": "thread.message", "role": "user", "content": [{"type": "text", "text": {"value": "Alpha?", "annotations": []}}], "status": "ready", "created_at": 1720535245500},
    {"id": "m2", "thread_id": "t-1", "role": "assistant", "content": [{"type": "reasoning", "text": {"value": "Letters."}}, {"type": "text", "text": {"value": "Beta."}}], "created_at": 1720535246500},
    {"id": "m3", "thread_id": "t-1", "role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}, {"type": "text", "text": {"value": "And?"}}], "created_at": 1720535247500},
]  # fmt: skip

SILLY_TAVERN = [
    {"user_name": "You", "character_name": "Seraphina", "create_date": "2024-7-9@14h27m25s", "chat_metadata": {}},
    {"name": "Seraphina", "is_user": False, "is_system": False, "send_date": "July 9, 2024 2:27pm", "mes": "*She smiles.*"},
    {"name": "You", "is_user": True, "is_system": False, "send_date": "July 9, 2024 2:28pm", "mes": "Hello"},
    {"name": "System", "is_user": False, "is_system": True, "mes": "[comment]"},
    {"name": "Seraphina", "is_user": False, "send_date": "July 9, 2024 2:29pm", "mes": "Second", "swipe_id": 1, "swipes": ["First", "Second", "Third"], "extra": {"reasoning": "Be kind."}},
]  # fmt: skip


def text(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def as_lines(values: list[Any]) -> bytes:
    return b"".join(text(value) + b"\n" for value in values)
