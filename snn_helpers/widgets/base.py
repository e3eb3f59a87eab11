"""What all widgets share: their state, the bytes they hand to the browser, and the still figure in their stead."""

from __future__ import annotations

import contextlib
import copy
import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from snn_helpers._checks import check_choice
from snn_helpers.plots import as_png, new_figure, stamp
from snn_helpers.widgets.page import page_block
from snn_helpers.widgets.state import Field, check_state

MAX_BYTES = 2_000_000
"""What a widget hands to the browser at most, so that its first picture comes at once."""

SETTINGS = ("auto", "on", "off", "page")
"""What the variable SNN_WIDGETS may say."""

_HERE = Path(__file__).parent
_IMPORT = re.compile(r"^import\s+\{[^}]*\}\s+from\s+\"\./(\w+\.js)\";\n", re.MULTILINE)


def load_script(*names: str) -> str:
    """Return ES modules with the modules that they import put in front, each once: a widget travels as one text."""
    seen: dict[str, str] = {}

    def read(file: str) -> None:
        if file not in seen:
            source = (_HERE / file).read_text(encoding="utf-8")
            for needed in _IMPORT.findall(source):
                read(needed)
            seen[file] = _IMPORT.sub("", source)

    for name in names:
        read(name)
    return "\n".join(seen.values())


@functools.cache
def _front_class(script: str):
    import anywidget
    import traitlets

    class Front(anywidget.AnyWidget):
        """The browser's side: synced traits and nothing else."""

        _esm = load_script(script)
        facts = traitlets.Dict().tag(sync=True)
        buffers = traitlets.Dict().tag(sync=True)
        state = traitlets.Dict().tag(sync=True)
        # What only some widgets have; an empty value costs nothing.
        points = traitlets.Bytes(b"").tag(sync=True)
        opened = traitlets.Dict().tag(sync=True)
        rows: Any = traitlets.List().tag(sync=True)
        status = traitlets.Dict().tag(sync=True)

    return Front


def widget_setting() -> str:
    """Return the variable SNN_WIDGETS, checked; `page` asks for widgets that live in a web page without a kernel."""
    return check_choice("SNN_WIDGETS", os.environ.get("SNN_WIDGETS", "auto"), SETTINGS)


def has_front_end() -> bool:
    """Return whether the running cell came from a notebook interface that can show widgets.

    JupyterLab, Notebook and VS Code name the cell in the metadata of what they send; papermill, nbclient and nbval do
    not. The variable SNN_WIDGETS (one of `SETTINGS`, default `auto`) overrules.
    """
    try:
        import anywidget  # noqa: F401
        from IPython import get_ipython
    except ImportError:
        return False
    setting = widget_setting()
    kernel = getattr(get_ipython(), "kernel", None)
    if setting != "auto" or kernel is None:
        return setting == "on"
    return "cellId" in (kernel.get_parent() or {}).get("metadata", {})


def hear_while_busy(front) -> None:
    """Have what a widget says heard while a cell runs, where JupyterLab sends it through a subshell.

    ipykernel sends what a widget says to the shell that last spoke on its comm: the busy one, once a running cell has
    sent something. Without this route it stays in the subshell that JupyterLab chose.
    """
    front.comm._reply_subshell_for = None


class Explorer:
    """A widget: facts and bytes for the browser, a state that a person changes, and a figure of that state.

    Parameters
    ----------
    fields : dict of str to Field
        What can be chosen.
    facts : dict
        Plain values for the browser; a `sentence` among them is shown in place of everything else.
    buffers : dict of str to bytes
        Arrays for the browser.
    state : dict or None
        A state given back, whole or in part.
    """

    script: ClassVar[str]
    asks: ClassVar[Mapping[str, str]] = {}
    """Fields of the state that Python answers with other bytes, each with a sentence for a page without a kernel."""

    def __init__(
        self, fields: Mapping[str, Field], facts: dict, buffers: dict[str, bytes], state: Mapping[str, Any] | None
    ):
        self._fields, self._facts, self._buffers = fields, facts, buffers
        self._state = check_state(state, fields)
        self._front: Any = None

    @property
    def state(self) -> dict[str, Any]:
        """What a person has chosen: plain values that a notebook parameter can hold, and that `state` takes back."""
        if self._front is not None:
            self._state = check_state(self._front.state, self._fields)
        return copy.deepcopy(self._state)

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        self._state = check_state({**self.state, **state}, self._fields)
        if self._front is not None:
            self._front.state = dict(self._state)

    @property
    def front(self):
        """The anywidget; made at first use."""
        if self._front is None:
            self._front = _front_class(self.script)(**self._traits())
            self._connect(self._front)
        return self._front

    def _traits(self) -> dict[str, Any]:
        extra = self._extra_traits()  # it may choose the buffers
        return {"facts": self._facts, "buffers": self._buffers, "state": dict(self._state), **extra}

    def _extra_traits(self) -> dict[str, Any]:
        """Return traits beside facts, buffers and state."""
        return {}

    def _connect(self, front) -> None:
        """Listen to the browser's side: a change of a field in `asks` is answered."""

        def changed(change):
            for field in self.asks:
                if change["new"].get(field) != change["old"].get(field):
                    self._answer(front, self.state[field])

        front.observe(changed, "state")

    def _answer(self, front, value) -> None:
        """Give the browser what it asks for by the new value of a field in `asks`."""

    def draw(self):
        """Return the figure of the present state; a subclass draws it."""
        raise NotImplementedError

    def figure(self, provenance: str = ""):
        """Return a still figure of what the widget shows now; needs no front end.

        Parameters
        ----------
        provenance : str
            Where the data come from, for the corner.
        """
        sentence = self._facts.get("sentence")
        figure = _sentence_figure(sentence) if sentence else self.draw()
        return stamp(figure, provenance) if provenance else figure

    def show(self, caption: str, alt: str, provenance: str = "") -> None:
        """Display the widget where there is a front end, else its figure; the caption stands below.

        Parameters
        ----------
        caption, alt : str
            One sentence that says what to see; what the figure shows, for those who cannot see it.
        provenance : str
            Where the data come from, for the figure's corner.
        """
        from IPython.display import Image, Markdown, display

        if has_front_end() or widget_setting() == "page":
            display(self._bundle(provenance, alt), raw=True)
        else:
            display(Image(self._png(provenance), format="png", alt=alt))
        display(Markdown(f"*{caption}*"))

    @contextlib.contextmanager
    def _shown(self, caption: str, alt: str, provenance: str) -> Iterator[None]:
        """Show before the block where there is a front end to follow it, else, as a figure, after it. See `show`."""
        watched = has_front_end()
        if watched:
            self.show(caption, alt, provenance)
        try:
            yield
        finally:
            if not watched:
                self.show(caption, alt, provenance)

    def _png(self, provenance: str = "") -> bytes:
        return as_png(self.figure(provenance))

    def _bundle(self, provenance: str = "", alt: str = "") -> dict[str, Any]:
        """Return the widget, and the figure beside it for places that show no widgets: exports, code hosts."""
        png = self._png(provenance)
        bundle: dict[str, Any] = {"text/plain": type(self).__name__, "image/png": png}
        if has_front_end():
            bundle.update(self.front._repr_mimebundle_()[0])
            bundle["text/plain"] = type(self).__name__
        elif widget_setting() == "page":
            bundle["text/html"] = self._page(png, alt)
        return bundle

    def _page(self, png: bytes, alt: str) -> str:
        """Return the widget as HTML that lives without a kernel."""
        traits = {name: value for name, value in self._traits().items() if value is not None}
        return page_block(
            self.script,
            load_script(self.script, "page.js"),
            traits,
            asks=self.asks,
            answers=self._page_answers() if self._fields else {},
            png=png,
            alt=alt or type(self).__name__,
        )

    def _page_answers(self) -> dict[str, dict[Any, Mapping[str, Any]]]:
        """Return {field: {value: traits}}: what Python would answer to changes of the fields in `asks`."""
        return {}

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, Any]:
        return self._bundle()


def class_names(classes: Sequence[str] | None, largest: int) -> list[str]:
    """Return the names of the classes 0 to `largest`: those given, or their numbers."""
    names = [str(name) for name in (range(largest + 1) if classes is None else classes)]
    if len(names) <= largest:
        raise ValueError(f"`classes` must name the classes 0 to {largest}; got {len(names)}.")
    return names


def _sentence_figure(sentence: str):
    figure, ax = new_figure(height=1.2)
    ax.text(0.5, 0.5, sentence, ha="center", va="center", wrap=True)
    ax.axis("off")
    return figure
