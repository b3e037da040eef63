"""One reader for each program whose chats can be imported; pure functions of parsed JSON, which may be damaged."""
