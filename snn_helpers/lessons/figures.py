"""Figures in a notebook, each with a caption, alt text and the data's provenance."""

from __future__ import annotations


def show(figure, caption: str, alt: str, provenance: str = "") -> None:
    """Display a figure with one caption sentence under it, alt text, and the data's provenance in the corner.

    Parameters
    ----------
    figure : matplotlib Figure
        Closed afterwards, so that it is shown once and its memory is freed.
    caption : str
        One sentence that says what to see.
    alt : str
        What the figure shows, for those who cannot see it.
    provenance : str
        Where the data come from; empty for figures of formulas.
    """
    from IPython.display import Image, Markdown, display

    from snn_helpers.plots import as_png, stamp

    if provenance:
        stamp(figure, provenance)
    display(Image(as_png(figure), format="png", alt=alt), Markdown(f"*{caption}*"))
