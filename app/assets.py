"""The files under `assets/`: styles, scripts and icons of the page."""

from pathlib import Path

ASSETS = Path(__file__).resolve().parents[1] / "assets"


def asset_text(name: str) -> str:
    """The text of one file under `assets/`, such as `css/page.css`."""
    return (ASSETS / name).read_text(encoding="utf-8")


def bare_page(name: str) -> str:
    """The text of a page without Gradio, such as `splash.html`, with its style in it."""
    return asset_text(name).replace("{style}", asset_text("css/bare.css"))
