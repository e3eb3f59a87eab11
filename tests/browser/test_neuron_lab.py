"""The neuron lab in JupyterLab: dragged, typed at and turned, it shows what the package computes."""

import json

import numpy as np

CELLS = [
    "from snn_helpers.widgets import NeuronLab\nlab = NeuronLab(state={'inputs_ms': [120.0, 240.0, 360.0]})",
    "lab.show('Look.', 'A neuron.')",
    "other = NeuronLab(state={'kind': 'alif', 'weight': 1.5})\nother.show('Look.', 'Another neuron.')",
    "import json\nfor one in (lab, other):\n"
    "    print(json.dumps([one.state, *(one.response()[name].tolist() for name in ('mem', 'spk', 'theta'))]))",
]


def shown(widget):
    return widget.evaluate("root => ['mem', 'spk', 'theta'].map(name => [...root.snn.record[name]])")


def test_lab_is_dragged_and_typed_at_and_equals_the_package(open_notebook, pictures):
    notebook = open_notebook("neuron.ipynb", CELLS).run_all()
    page, widget, other = notebook.page, notebook.widget(0), notebook.widget(1)
    sent = notebook.kernel_messages()
    assert "no output spike" in widget.text_content()

    box = widget.locator("canvas").bounding_box()
    start, end = (widget.evaluate("(root, ms) => root.snn.toX(ms)", ms) for ms in (360, 132))
    page.mouse.move(box["x"] + start, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + (start + end) / 2, box["y"] + 20)
    page.mouse.move(box["x"] + end, box["y"] + 20)
    page.mouse.up()
    assert widget.evaluate("root => root.snn.store.get('inputs_ms')") == [120, 240, 132]
    assert "1 output spike, at 132 ms" in widget.text_content()  # two inputs close together are enough
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Insert")
    page.keyboard.press("Delete")
    assert widget.evaluate("root => root.snn.store.get('inputs_ms')") == [120, 240, 144]
    widget.get_by_label("τ membrane").fill("250")
    widget.get_by_label("Reset").select_option(label="to zero")
    assert "u[t] = 0.953 u[t−1] (1 − s[t−1]) + x[t]" in widget.text_content()
    assert notebook.kernel_messages() == sent
    other.get_by_label("adaptation b").fill("2.5")
    assert other.get_by_label("Reset").is_disabled()
    assert widget.get_by_label("τ synapse").is_disabled()
    assert notebook.kernel_messages() == sent + 1  # the first lab handed its state over when it lost the focus
    page.screenshot(path=pictures / "neuron_lab.png")

    in_browser = [shown(widget), shown(other)]
    lines = [json.loads(row) for row in notebook.run_cell(3).strip().splitlines()]
    assert lines[0][0]["inputs_ms"] == [120, 240, 144]
    assert lines[1][0]["adaptation"] == 2.5
    for (_, *ours), theirs in zip(lines, in_browser):
        assert np.array_equal(ours[1], theirs[1])
        assert sum(ours[1]) > 0
        assert np.allclose(ours, theirs, rtol=0, atol=1e-6)
