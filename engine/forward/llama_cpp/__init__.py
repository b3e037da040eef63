"""The target on llama.cpp: `binding`, the thin module on its library, and `target`. Knows no checkpoint, no drafts."""
