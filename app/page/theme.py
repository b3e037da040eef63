"""Colours and type of the page. Fonts come with Gradio, so nothing is fetched from elsewhere."""

import gradio as gr

# Gradio's names for the colours of assets/css/frame.css, which knows light from dark itself.
COLOURS = {
    "body_background_fill": "var(--paper)",
    "body_text_color": "var(--ink)",
    "body_text_color_subdued": "var(--soft)",
    "background_fill_primary": "var(--paper)",
    "background_fill_secondary": "var(--panel)",
    "block_background_fill": "var(--raised)",
    "block_label_text_color": "var(--soft)",
    "block_title_text_color": "var(--ink)",
    "block_info_text_color": "var(--soft)",
    "block_border_color": "var(--line)",
    "border_color_primary": "var(--line)",
    "border_color_accent": "var(--accent)",
    "input_background_fill": "var(--paper)",
    "input_border_color": "var(--line)",
    "input_placeholder_color": "var(--soft)",
    "slider_color": "var(--accent)",
    "checkbox_background_color_selected": "var(--accent)",
    "button_primary_background_fill": "var(--accent)",
    "button_primary_background_fill_hover": "var(--accent)",
    "button_primary_text_color": "var(--accent-ink)",
    "button_secondary_background_fill": "var(--raised)",
    "button_secondary_text_color": "var(--ink)",
    "button_secondary_border_color": "var(--line)",
    "code_background_fill": "var(--panel)",
    "link_text_color": "var(--accent)",
}


def theme() -> gr.themes.Base:
    """A quiet theme with one accent; `assets/css/page.css` does the rest from the same colours."""
    fonts = gr.themes.utils.fonts
    base = gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.slate,
        font=[fonts.LocalFont("IBM Plex Sans", (400, 700)), "system-ui", "sans-serif"],
        font_mono=[fonts.LocalFont("IBM Plex Mono", (400, 700)), "ui-monospace", "monospace"],
        radius_size=gr.themes.sizes.radius_md,
        spacing_size=gr.themes.sizes.spacing_sm,
        text_size=gr.themes.sizes.text_md,
    )
    return base.set(**COLOURS, **{f"{name}_dark": colour for name, colour in COLOURS.items()})
