"""Every widget in one notebook: named for screen readers, readable in the dark, narrow, exported, without its kernel.

The tests share one page and run in this order; the last one ends its kernel.
"""

import re
import subprocess
import sys

import nbformat
import pytest
from gallery import CELLS, NAMES
from lab import Notebook, write_notebook

EACH = pytest.mark.parametrize("number", range(len(NAMES)), ids=NAMES)
CONTRAST = """
const parts = words => words.match(/[\\d.]+/g).map(Number);
const shade = rgb => rgb.slice(0, 3).map(v => v / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const contrast = (a, b) => (Math.max(shade(a), shade(b)) + 0.05) / (Math.min(shade(a), shade(b)) + 0.05);
"""


@pytest.fixture(scope="module")
def gallery(lab, lab_page):
    """Return a notebook with all widgets, run."""
    write_notebook(lab.folder / "gallery.ipynb", CELLS)
    page = lab_page()
    page.set_viewport_size({"width": 1280, "height": 2400})
    notebook = Notebook(page, lab, "gallery.ipynb").open().run_all()
    assert [notebook.widget(number).get_attribute("aria-label") for number in range(len(NAMES))] == list(NAMES)
    yield notebook
    notebook.close()


@pytest.fixture(scope="module")
def dark(gallery):
    """Switch JupyterLab's own theme while the widgets are open; light again afterwards."""
    for theme in ("Dark", "Light"):
        gallery.page.click(".lm-MenuBar-itemLabel:text-is('Settings')")
        gallery.page.click(".lm-Menu-itemLabel:text-is('Theme')")
        gallery.page.click(f".lm-Menu-itemLabel:text-is('JupyterLab {theme}')")
        light = str(theme == "Light").lower()
        gallery.page.wait_for_function(f"() => document.body.dataset.jpThemeLight === '{light}'")
        if theme == "Dark":
            yield gallery


@EACH
def test_every_part_has_a_name_for_screen_readers(gallery, number):
    found = gallery.widget(number).evaluate(
        """root => ({
             controls: [...root.querySelectorAll('button, input, select')].map(node => [node.outerHTML.slice(0, 80),
               node.getAttribute('aria-label') || [...(node.labels ?? [])].map(label => label.textContent).join(' ')]),
             canvases: [...root.querySelectorAll('canvas')].map(node => [node.getAttribute('role'),
               node.getAttribute('aria-label')]),
             live: root.querySelectorAll('[aria-live=polite], [role=status]').length })"""
    )
    assert [node for node, name in found["controls"] if len(name.strip()) < 3] == []
    assert {role for role, _ in found["canvases"]} == {"img"}
    assert min(len(label) for _, label in found["canvases"]) > 15
    assert found["live"] >= 1


def test_labels_follow_what_is_shown(gallery):
    player, lab, activity, embedding, monitor = (gallery.widget(number) for number in range(5))
    player.get_by_label("Time", exact=True).fill("100")
    lab.get_by_label("weight of an input").fill("0.5")
    activity.get_by_label("Layer", exact=True).select_option(label="conv2")
    embedding.locator("canvas").first.press("ArrowRight")
    labels = [widget.locator("canvas").evaluate_all("all => all.map(n => n.ariaLabel)") for widget in
              (player, lab, activity, embedding, monitor)]  # fmt: skip
    assert labels[0][0].startswith("The camera's pixels at 100.0 ms, bin 100 to 120 ms: ")
    assert "no output spike" in labels[1][0]
    assert labels[2][1].startswith("Spikes of conv2 in step 6: ")
    assert labels[2][2].startswith("The output neurons' race. early: says ")
    assert "recording 0, a 0" in labels[3][0]
    assert labels[4][0] == "Curves: loss, now train 0.38, valid 0.40"
    # The region that is read aloud follows once the change has rested.
    gallery.page.wait_for_function(
        "() => document.querySelector('section.snn .said').textContent.startsWith('100.0 ms')"
    )


@EACH
def test_words_and_drawings_are_readable_in_the_dark_theme(dark, number, pictures):
    widget = dark.widget(number)
    widget.scroll_into_view_if_needed()
    widget.screenshot(path=pictures / f"dark_{NAMES[number].replace(' ', '_')}.png")
    found = widget.evaluate(
        "root => {"
        + CONTRAST
        + """
             const paper = parts(getComputedStyle(root).backgroundColor);
             const faint = [...root.querySelectorAll('*')].filter(node => node.tagName !== 'STYLE' && !node.disabled
               && [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim()))
               .filter(node => node.tagName !== 'OPTION' && contrast(parts(getComputedStyle(node).color), paper) < 4.5)
               .map(node => node.outerHTML.slice(0, 80));
             const canvases = [...root.querySelectorAll('canvas')].map(node => {
               const { data } = node.getContext('2d').getImageData(0, 0, node.width, node.height);
               let best = 1;
               for (let at = 0; at < data.length; at += 4) if (data[at + 3] > 200) {
                 best = Math.max(best, contrast([data[at], data[at + 1], data[at + 2]], paper)); }
               return best; });
             return { paper, faint, canvases }; }"""
    )
    assert max(found["paper"]) < 60
    assert found["faint"] == []
    assert min(found["canvases"]) > 6  # drawn again for the new theme, not left black on black


@EACH
def test_nothing_runs_over_the_edge_of_a_narrow_page(gallery, number, pictures):
    gallery.page.set_viewport_size({"width": 800, "height": 2400})
    widget = gallery.widget(number)
    widget.scroll_into_view_if_needed()
    gallery.page.wait_for_function("() => document.querySelector('section.snn').clientWidth < 600")
    gallery.page.wait_for_timeout(100)
    widget.screenshot(path=pictures / f"narrow_{NAMES[number].replace(' ', '_')}.png")
    over = widget.evaluate(
        """root => { const edge = root.getBoundingClientRect().right;
             return [...root.querySelectorAll('*')].filter(node => node.getBoundingClientRect().right > edge)
               .map(node => node.outerHTML.slice(0, 80)); }"""
    )
    assert over == []
    assert widget.evaluate("root => root.scrollWidth <= root.clientWidth")


def test_export_shows_the_still_figures_without_a_script(gallery, tmp_path):
    gallery.menu("File", "Save Notebook")
    gallery.page.wait_for_function("() => !document.querySelector('.lm-TabBar-tab.jp-mod-dirty')")
    stored = nbformat.read(gallery.lab.folder / "gallery.ipynb", as_version=4)
    assert "widgets" not in stored.metadata
    command = [sys.executable, "-m", "jupyter", "nbconvert", "--to", "html", "--output-dir", str(tmp_path)]
    subprocess.run([*command, str(gallery.lab.folder / "gallery.ipynb")], check=True, capture_output=True)
    page = (tmp_path / "gallery.html").read_text(encoding="utf-8")
    assert len(re.findall(r'<img[^>]*src="data:image/png;base64', page)) == len(NAMES)
    assert "widget-view+json" not in page


def test_every_widget_says_that_its_kernel_has_gone_and_does_not_freeze(gallery):
    page = gallery.page
    gallery.menu("Kernel", "Restart Kernel…")
    page.click(".jp-Dialog button.jp-mod-accept")
    page.wait_for_function(
        """() => [...document.querySelectorAll('section.snn')].every(root =>
             root.querySelector('.note').textContent.includes('kernel of this widget has gone'))"""
    )
    assert page.locator("section.snn .note:visible").count() == len(NAMES)
    for number in range(4):
        widget = gallery.widget(number)
        before = widget.evaluate("root => root.snn.draws")
        widget.locator("canvas[tabindex='0']").first.press("ArrowRight")
        assert widget.evaluate("root => root.snn.draws") > before
    gallery.widget(0).get_by_role("button", name="Play the recording").click()
    page.wait_for_function("() => document.querySelector('section.snn').snn.store.get('time_ms') > 130")
    gallery.widget(2).get_by_role("button", name="Next recording").click()
    gallery.widget(4).get_by_role("button").click()
    assert [error for error in gallery.errors if "TypeError" in error or "Cannot" in error] == []
    # A kernel that is still starting cannot be ended.
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", state="attached")
