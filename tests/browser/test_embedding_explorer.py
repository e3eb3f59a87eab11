"""The embedding explorer in JupyterLab: a point opens its recording, a lasso chooses, epochs run."""

import json

from test_event_player import MAKE as PLAYER

MAKE = (
    PLAYER.replace("EventPlayer", "EmbeddingExplorer")
    + """
rng = np.random.default_rng(3)
labels = np.repeat(np.arange(4), 30)
last = rng.normal(0, 0.4, (120, 2)) + np.array([[0, 0], [4, 0], [0, 4], [4, 4]])[labels]
points = np.stack([rng.normal(2, 1, (120, 2)), last])
predictions = np.where(rng.random(120) < 0.9, labels, 3 - labels)
"""
)


def test_points_open_their_recordings_and_a_lasso_chooses(open_notebook, pictures):
    cells = [
        MAKE,
        "explorer = EmbeddingExplorer(points, labels, predictions, np.linspace(0, 1, 120), lambda i: made_up(500 + i)\n"
        "                             , frame_word='epoch')\nexplorer.show('Look.', 'Points.')",
        "import json\nprint(json.dumps(explorer.state))",
        "EmbeddingExplorer(np.zeros((0, 2))).show('Nothing.', 'Points.')",
    ]
    notebook = open_notebook("embedding.ipynb", cells, height=1300).run_all()
    page, widget = notebook.page, notebook.widget()
    sent = notebook.kernel_messages()
    widget.scroll_into_view_if_needed()
    pixels = widget.evaluate("root => [...root.snn.pixels]")
    plot = widget.locator("canvas").first
    box = plot.bounding_box()

    first_class = [(pixels[2 * i], pixels[2 * i + 1]) for i in range(30)]
    left, right = min(x for x, _ in first_class) - 9, max(x for x, _ in first_class) + 9
    top, bottom = min(y for _, y in first_class) - 9, max(y for _, y in first_class) + 9
    page.mouse.move(box["x"] + left, box["y"] + top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom)):
        page.mouse.move(box["x"] + x, box["y"] + y)
    page.mouse.up()
    within = [i for i in range(120) if left < pixels[2 * i] < right and top < pixels[2 * i + 1] < bottom]
    assert set(range(30)) <= set(within)
    assert widget.evaluate("root => root.snn.store.get('chosen')") == within
    assert f"{len(within)} chosen" in widget.text_content()
    widget.get_by_label("Colour", exact=True).select_option(label="error")
    assert notebook.kernel_messages() == sent

    plot.click(position={"x": pixels[2 * 77], "y": pixels[2 * 77 + 1]})
    page.wait_for_function("() => document.querySelector('section.snn').snn.opened !== undefined")
    opened = widget.evaluate("root => root.snn.opened")
    assert abs(pixels[2 * opened] - pixels[2 * 77]) < 12
    assert f"{500 + opened} events" in widget.text_content()
    page.wait_for_function("() => document.querySelector('section.snn').snn.playerDraws > 10")
    widget.screenshot(path=pictures / "embedding_explorer.png")

    widget.get_by_role("button", name="Run through").click()
    page.wait_for_function("() => document.querySelector('section.snn').snn.store.get('frame') === 1")
    state = json.loads(notebook.run_cell(2))
    assert (state["opened"], state["chosen"], state["colour"]) == (opened, within, "error")
    assert "There are no recordings to show." in notebook.widget(1).text_content()
