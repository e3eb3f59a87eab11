"""Sphinx builds the series as a static site; `.ci/book.py` lays its pages out and calls it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "snn_helpers"
html_title = "Spiking networks on event data"
copyright = "the authors of snn_helpers; MIT licence"
language = "en"
exclude_patterns = ["downloads"]

extensions = ["myst_nb", "mathml"]
nb_execution_mode = "off"  # the notebooks come executed
nb_ipywidgets_js = {}  # the widgets bring what they need; nothing is loaded from elsewhere
nb_merge_streams = True  # as JupyterLab shows them
myst_enable_extensions = ["dollarmath", "amsmath"]
# A notebook's text is that of Jupyter: braces, per cent signs and plus signs mean themselves.
myst_disable_syntax = ["myst_role", "myst_target", "myst_line_comment", "myst_block_break"]
myst_heading_anchors = 3

html_theme = "furo"
html_static_path = ["static"]
html_favicon = "static/icon.svg"
html_css_files = ["book.css"]
html_extra_path = []  # the downloads, named by `.ci/book.py`
html_math_renderer = "mathml"
html_show_sphinx = False
html_copy_source = False
html_use_index = False  # of the glossary's words only, which stand in order already
html_search_scorer = str(Path(__file__).with_name("scorer.js"))
html_show_search_summary = False  # a page that is opened from disk may not read the others
html_theme_options = {"sidebar_hide_name": False}
pygments_style = "default"
pygments_dark_style = "github-dark"
