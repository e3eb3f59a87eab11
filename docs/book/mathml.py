"""Formulas as MathML, which browsers draw by themselves: no script, no fonts, nothing to load."""

import html

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.util import logging

logger = logging.getLogger(__name__)
WORD_JOINER = "\u2060"
_converter = LatexToMathML(annotation=True, fancy_error=False)


def to_mathml(node: nodes.Element, block: bool) -> str:
    """Return a formula's MathML; where it cannot be converted, its LaTeX, and a warning in the build."""
    latex = node.astext().strip()
    # Lines of a formula between $$ need an environment around them.
    if "\\\\" in latex and "\\begin" not in latex:
        latex = f"\\begin{{aligned}}{latex}\\end{{aligned}}"
    try:
        return _converter.convert_with_local_state(latex, displaystyle=block)
    except LatexError as err:
        logger.warning("formula stays LaTeX: %s: %s", err, latex, location=node)
        return f"<code>{html.escape(latex)}</code>"


def visit_inline(self, node: nodes.Element) -> None:
    """Write a formula of a line."""
    place = node.parent.index(node)
    before, after = (place and node.parent[place - 1].astext()), node.parent[place + 1 : place + 2]
    # Browsers would end a line between a formula and the full stop or bracket that clings to it.
    if before and not before[-1].isspace():
        self.body.append(WORD_JOINER)
    self.body.append(to_mathml(node, block=False))
    if after and after[0].astext()[:1].strip():
        self.body.append(WORD_JOINER)
    raise nodes.SkipNode


def visit_block(self, node: nodes.Element) -> None:
    """Write a formula of its own."""
    self.body.append(self.starttag(node, "div", CLASS="math"))
    self.body.append(to_mathml(node, block=True) + "</div>\n")
    raise nodes.SkipNode


def setup(app) -> dict:
    """Register the renderer, `html_math_renderer = "mathml"`."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
