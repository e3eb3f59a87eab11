"""A widget as HTML that needs neither a kernel nor a front end: its module, its bytes and its figure in one block."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from snn_helpers.plots import as_img

MAX_ANSWER_BYTES = 450_000
"""What a page holds at most of what a widget would ask its kernel for, such as its other recordings."""

_END = re.compile(r"<(?=/script|!--)", re.IGNORECASE)


def page_block(
    script: str,
    module: str,
    traits: Mapping[str, Any],
    *,
    asks: Mapping[str, str],
    answers: Mapping[str, Mapping[Any, Mapping[str, Any]]],
    png: bytes,
    alt: str,
) -> str:
    """Return a widget as a block of HTML; blocks of the same widget can stand in one page, and share its module.

    Parameters
    ----------
    script : str
        The module's file name, by which the block finds its widgets.
    module : str
        The text of the module and of all that it imports, `page.js` among them.
    traits : dict
        What the module gets from its model: values that JSON can carry, and bytes.
    asks : dict of str to str
        Fields of the state that the kernel answers, each with the sentence for a page that holds no answer.
    answers : dict
        {field: {value: traits}}: answers that the page holds.
    png, alt : bytes, str
        The figure, which stands there until the widget does, and what it shows.
    """
    data = {"traits": dict(traits), "asks": dict(asks), "answers": {field: dict(to) for field, to in answers.items()}}
    text = json.dumps(data, default=_bytes_as_json, allow_nan=False, separators=(",", ":"))
    name = html.escape(script)
    # "<" is a sign of JSON's texts only, "</script" in a module one of its texts and comments.
    return (
        f'<div class="snn-page" data-snn-widget="{name}">'
        f'<script type="application/json">{text.replace("<", chr(92) + "u003c")}</script>'
        f"{as_img(png, alt)}</div>\n"
        f'<script type="module" data-snn-module="{name}">\n'
        + _END.sub(r"<\\", module)
        + f"\nstartWidgets({json.dumps(script)}, render);\n</script>"
    )


def within_budget(answers: Iterable[tuple[Any, Mapping[str, Any]]]) -> dict[Any, Mapping[str, Any]]:
    """Return the first of the answers, pairs of value and traits, as many as fit into `MAX_ANSWER_BYTES`."""
    room, kept = MAX_ANSWER_BYTES, {}
    for value, traits in answers:
        room -= _size(traits)
        if room < 0:
            break
        kept[value] = traits
    return kept


def _size(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(_size(one) for one in value.values())
    return len(value) if isinstance(value, bytes) else 0


def _bytes_as_json(value: Any) -> dict[str, str]:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode("ascii")}
    raise TypeError(f"A widget's traits must be plain values and bytes; got {type(value).__name__}.")
