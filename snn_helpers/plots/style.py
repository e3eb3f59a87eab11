"""One look for all figures: sizes, colours that colour-blind readers can tell apart, a light and a dark theme."""

from __future__ import annotations

import base64
import html
import io

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snn_helpers._checks import check_choice

ON, OFF, GREY, HIGHLIGHT = "#0072b2", "#d55e00", "#6b6b6b", "#009e73"
"""Okabe and Ito's colour-blind-safe blue, vermilion and green: ON and OFF events look the same in every figure."""

FOR, AGAINST = HIGHLIGHT, "#cc79a7"
"""What spoke for an answer and against it: other colours than those of events, which are drawn in them."""

CYCLE = (ON, OFF, HIGHLIGHT, AGAINST, "#e69f00", "#56b4e9")

_STYLE = {
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.prop_cycle": mpl.cycler(color=[*CYCLE, "#8c8c8c"]),
    "image.interpolation": "nearest",
    "legend.frameon": False,
}
_INKS = {"light": ("#ffffff", "#000000"), "dark": ("#16181c", "#e8e8e8")}
THEMES = tuple(_INKS)


def theme_settings(theme: str = "light") -> dict:
    """Return the series' style as matplotlib's settings, for `matplotlib.rc_context`; "light" or "dark"."""
    paper_colour, ink_colour = _INKS[check_choice("theme", theme, THEMES)]
    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    papered = ("figure.facecolor", "axes.facecolor", "savefig.facecolor")
    colours = {**dict.fromkeys(inked, ink_colour), **dict.fromkeys(papered, paper_colour)}
    return {**_STYLE, **colours}


def use_style(theme: str = "light") -> None:
    """Set the series' style for all figures that follow; "light" or "dark"."""
    mpl.rcParams.update(theme_settings(theme))


def new_figure(rows: int = 1, columns: int = 1, width: float = 7.2, height: float = 2.6, **options):
    """Return (figure, axes) in the series' style; `width` and `height` in inches, axes as `plt.subplots` gives them.

    Colours of paper and ink are those that are set, see `use_style`; 7.2 inches are the width of a text column.
    """
    with mpl.rc_context(_STYLE):
        return plt.subplots(rows, columns, figsize=(width, height), **options)


def make_axes(ax: Axes | None) -> Axes:
    """Return the Axes given, or new ones in the series' style."""
    return new_figure()[1] if ax is None else ax


def ink(ax: Axes):
    """Return the colour of an Axes' words, for lines that must stand out on its paper."""
    return ax.xaxis.label.get_color()


def paper(ax: Axes):
    """Return the colour behind an Axes."""
    return ax.get_facecolor()


def as_png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file, and close it."""
    image = io.BytesIO()
    figure.savefig(image, format="png")
    plt.close(figure)
    return image.getvalue()


def as_img(png: bytes, alt: str) -> str:
    """Return a picture as an HTML element that holds it, with words for those who cannot see it."""
    data = base64.b64encode(png).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="{html.escape(alt)}">'


def stamp(figure: Figure, provenance: str) -> Figure:
    """Write the data's provenance in the figure's lower right corner."""
    figure.supxlabel(provenance, x=0.995, ha="right", fontsize=7, color=GREY)
    return figure
