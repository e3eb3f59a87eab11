"""The activity explorer in JupyterLab, with SpikingCNN's layers: one clock, true counts, another recording at once."""

import json

MAKE = """
import numpy as np
from snn_helpers.activity import decisions
from snn_helpers.widgets import ActivityExplorer
SHAPES = {"conv1": (32, 17, 17), "conv2": (64, 8, 8), "conv3": (128, 4, 4), "hidden": (256,), "output": (10,)}

def recorded(seed, num_steps=25, samples=6):
    rng = np.random.default_rng(seed)
    spk = {k: (rng.random((num_steps, samples, *s)) < 0.08).astype(np.uint8) for k, s in SHAPES.items()}
    mem = {k: rng.normal(0, 0.4, (num_steps, samples, *s)).astype(np.float32) for k, s in SHAPES.items()}
    return spk, mem

frames = (np.random.default_rng(9).random((25, 6, 2, 34, 34)) < 0.05).astype(np.uint8)
one, two = recorded(0), recorded(1)
labels = decisions(one[0]["output"], one[1]["output"]).final.copy()
labels[[2, 5]] = (labels[[2, 5]] + 1) % 10
"""


def test_explorer_plays_steps_through_wrong_answers_and_shows_what_was_recorded(open_notebook, pictures):
    cells = [
        MAKE,
        "explorer = ActivityExplorer(frames, *one, labels, other=two, names=('early', 'late'))\n"
        "explorer.show('Look.', 'Activity.')",
        "import json\nprint(json.dumps([explorer.state, one[0]['output'][:, explorer.state['sample']].sum(0).tolist(),"
        " int(one[0]['conv2'][10, explorer.state['sample']].sum())]))",
    ]
    notebook = open_notebook("activity.ipynb", cells, height=1200).run_all()
    page, widget = notebook.page, notebook.widget()
    widget.scroll_into_view_if_needed()
    sent = notebook.kernel_messages()
    widget.get_by_label("Speed", exact=True).select_option(label="1/50")
    widget.get_by_role("button", name="Play").click()
    page.wait_for_function("() => document.querySelector('section.snn').snn.draws > 10")
    widget.get_by_role("button", name="Pause").click()

    widget.get_by_label("Layer", exact=True).select_option(label="conv2")
    maps = widget.locator("canvas").nth(1)
    maps.click(position={"x": 20, "y": 20})
    maps.click(position={"x": 60, "y": 62})
    chosen = widget.evaluate("root => root.snn.store.get('neurons')")
    assert len(chosen) == 2
    maps.press("ArrowRight")
    assert notebook.kernel_messages() == sent

    widget.get_by_label("only wrong answers").check()
    widget.get_by_role("button", name="Next recording").click()
    page.wait_for_function("() => document.querySelector('section.snn').snn.sample.sample === 2")
    assert "Recording 3 of 6." in widget.text_content()
    assert "(wrong)" in widget.text_content()
    maps.press("PageDown")
    page.wait_for_function("() => document.querySelector('section.snn').snn.sample.sample === 5")
    widget.get_by_label("Time", exact=True).fill("125")
    shown = widget.evaluate(
        """root => { const { snn } = root; return [snn.current.lanes[0].map(lane => lane.at(-1)),
             [...snn.current.chosen.spk.subarray(10 * 4096, 11 * 4096)].reduce((a, b) => a + b)] }"""
    )
    widget.screenshot(path=pictures / "activity_explorer.png")
    state, output, conv2 = json.loads(notebook.run_cell(2))
    assert (state["sample"], state["layer"], state["only_wrong"]) == (5, "conv2", True)
    assert shown == [output, conv2]
    assert f"step 10 · conv2: {conv2} of 4096 neurons fire" in widget.text_content()


def test_explorer_without_membranes_spikes_or_frames_shows_sentences(open_notebook):
    cells = [
        MAKE,
        "ActivityExplorer(frames, {k: 0 * v for k, v in one[0].items()}, labels=labels).show('Silent.', 'Activity.')",
        "ActivityExplorer(None, {}).show('Nothing.', 'Activity.')",
    ]
    notebook = open_notebook("silent.ipynb", cells).run_all()
    said = notebook.widget(0).text_content()
    assert "recorded without membranes" in said
    assert "No neuron of conv1 fires for this recording." in said
    assert "no output spike, undecided" in said
    assert "Nothing was recorded" in notebook.widget(1).text_content()
