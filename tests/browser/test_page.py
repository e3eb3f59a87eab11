"""Every widget in a static page, opened from disk: no kernel, no server, nothing from elsewhere."""

import os
import re

import nbformat
import pytest
from gallery import CELLS, NAMES
from lab import ROOT


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    """Return the HTML of each widget of the gallery, run headlessly."""
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    env = {**os.environ, "PYTHONPATH": str(ROOT), "SNN_WIDGETS": "page"}
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": tmp_path_factory.mktemp("cwd")}}).execute(env=env)
    outputs = [output.get("data", {}) for cell in notebook.cells for output in cell.outputs]
    return [data["text/html"] for data in outputs if "text/html" in data]


@pytest.fixture(scope="module")
def static_page(blocks, tmp_path_factory):
    """Return the path of a page with all of them, and the first twice."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    body = "\n".join([*blocks, blocks[0]])
    path.write_text(
        f'<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>Widgets</title><body data-theme="light">{body}</body>',
        encoding="utf-8",
    )
    return path


@pytest.fixture
def opened(offline_page, static_page):
    """Return the page, open; it must have said nothing to its console and asked for nothing."""
    page = offline_page(static_page, viewport={"width": 1000, "height": 900})
    page.wait_for_function(
        "count => document.querySelectorAll('section.snn').length === count", arg=len(NAMES) + 1
    )  # fmt: skip
    return page


def widget(page, number):
    return page.locator("section.snn").nth(number)


def test_every_widget_takes_the_place_of_its_picture(opened):
    names = [widget(opened, number).get_attribute("aria-label") for number in range(len(NAMES) + 1)]
    assert names == [*NAMES, NAMES[0]]
    assert opened.locator(".snn-page > img").count() == 0
    assert opened.locator("section.snn .note:visible").count() == 0


def test_player_plays_and_only_the_one_that_was_started(opened):
    player, other = widget(opened, 0), widget(opened, len(NAMES))
    player.get_by_label("Speed", exact=True).select_option(label="1/100")
    player.get_by_role("button", name="Play").click()
    opened.wait_for_function(
        "() => { const { snn } = document.querySelector('section.snn'); return snn.draws > 10"
        " && snn.store.get('time_ms') > 61 && snn.clock.playing }"
    )
    player.get_by_role("button", name="Pause").click()
    # Leaving the widget hands its state to the page's model, as to a kernel.
    other.get_by_label("Time", exact=True).fill("100")
    assert player.evaluate("root => root.snn.store.get('time_ms')") > 61
    assert not other.evaluate("root => root.snn.clock.playing")
    assert other.evaluate("root => root.snn.store.get('time_ms')") == 100


def test_input_of_the_neuron_is_dragged_and_the_curve_follows(opened):
    lab = widget(opened, 1)
    lab.scroll_into_view_if_needed()
    curve = "root => [...root.snn.record.mem]"
    before = lab.evaluate(curve)
    box = lab.locator("canvas").bounding_box()
    start, end = (lab.evaluate("(root, at) => root.snn.toX(at ?? root.snn.store.get('inputs_ms')[0])", at)
                  for at in (None, 600))  # fmt: skip
    opened.mouse.move(box["x"] + start, box["y"] + 20)
    opened.mouse.down()
    opened.mouse.move(box["x"] + end, box["y"] + 20)
    opened.mouse.up()
    assert lab.evaluate("root => root.snn.store.get('inputs_ms')[0]") == 600
    assert lab.evaluate(curve) != before


def test_page_answers_in_the_kernels_place_and_says_what_it_cannot(opened):
    activity, embedding, monitor = (widget(opened, number) for number in (2, 3, 4))
    activity.get_by_role("button", name="Next recording").click()
    assert "Recording 2 of 6" in activity.text_content()
    activity.get_by_role("button", name="Recording before").click()
    assert "Recording 1 of 6" in activity.text_content()
    held = opened.evaluate(
        """() => { const box = document.querySelector('[data-snn-widget="embedding_explorer.js"]');
             return Object.keys(JSON.parse(box.querySelector('script').textContent).answers.opened).map(Number); }"""
    )
    points = embedding.locator("canvas").first
    points.focus()
    for index in range(8):
        points.press("ArrowRight")
        if index not in held or index == 7:
            continue
        points.press("Enter")
        assert embedding.evaluate("root => root.snn.opened") == index
        break
    monitor.get_by_role("button").click()
    notes = opened.locator(".snn-page > p:visible").all_text_contents()
    assert [note for note in notes if note] == [
        "Nothing trains in this page; in JupyterLab the button stops the kernel's training."
    ]


def test_widgets_follow_the_pages_theme(opened):
    paper = "root => getComputedStyle(root).backgroundColor"
    assert widget(opened, 0).evaluate(paper) == "rgb(255, 255, 255)"
    opened.evaluate("document.body.dataset.theme = 'dark'")
    opened.wait_for_function(f"() => ({paper})(document.querySelector('section.snn')) !== 'rgb(255, 255, 255)'")
    opened.evaluate("document.body.dataset.theme = 'auto'")
    opened.wait_for_function(f"() => ({paper})(document.querySelector('section.snn')) === 'rgb(255, 255, 255)'")
    opened.emulate_media(color_scheme="dark")
    opened.wait_for_function(f"() => ({paper})(document.querySelector('section.snn')) !== 'rgb(255, 255, 255)'")


def test_nothing_runs_over_the_edge_of_a_telephone(opened, pictures):
    opened.set_viewport_size({"width": 360, "height": 740})
    opened.wait_for_function("() => document.querySelector('section.snn').clientWidth < 360")
    opened.wait_for_timeout(100)
    opened.screenshot(path=pictures / "page_telephone.png", full_page=True)
    assert opened.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_pictures_stand_there_without_scripts(chromium, static_page):
    context = chromium.browser.new_context(offline=True, java_script_enabled=False)
    page = context.new_page()
    page.goto(static_page.as_uri())
    assert page.locator(".snn-page > img:visible").count() == len(NAMES) + 1
    context.close()


def test_picture_stays_where_a_widget_cannot_be_drawn(chromium, blocks, tmp_path):
    path = tmp_path / "broken.html"
    path.write_text(re.sub(r'"facts":\{.*?\},', "", blocks[0], count=1), encoding="utf-8")
    page = chromium.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("[data-snn-started]")
    assert page.locator(".snn-page > img:visible").count() == 1
    page.close()
