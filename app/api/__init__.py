"""The engine for other programs, as OpenAI's API. No page lives here; `app.chat.queue` says whose turn it is."""
