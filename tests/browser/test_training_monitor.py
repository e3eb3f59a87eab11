"""The training monitor in JupyterLab: it draws while a cell runs, and its button is heard by that cell."""

MAKE = """
import time
from snn_helpers.widgets import TrainingMonitor
monitor = TrainingMonitor(epochs=100_000)
monitor.show('Look.', 'Curves.')
"""
TRAIN = """
for epoch in range(100_000):
    for step in range(10):
        time.sleep(0.02)
        if monitor.stop_requested:
            break
    if monitor.stop_requested:
        break
    monitor.update({'epoch': epoch, 'train_loss': 2.3 / (epoch + 1), 'valid_loss': 2.4 / (epoch + 1),
                    'valid_accuracy': float('nan') if epoch == 1 else 1 - 1 / (epoch + 1),
                    'firing/conv1': 0.1, 'firing/hidden': 0.05 + epoch / 100})
monitor.finish()
print('stopped after', epoch, 'epochs:', len(monitor.rows) == epoch)
"""


def test_monitor_draws_while_a_cell_trains_and_stops_it(open_notebook, pictures):
    notebook = open_notebook("monitor.ipynb", [MAKE, TRAIN])
    notebook.start_cell(0)
    page, widget = notebook.page, notebook.widget()
    notebook.start_cell(1)  # the page can ask a kernel that runs this one for nothing more
    page.wait_for_function(
        "() => (document.querySelector('section.snn')?.snn.panels[0]?.curves[0].points.length ?? 0) >= 4"
    )
    panels = widget.evaluate("root => root.snn.panels")
    assert [panel["title"] for panel in panels] == ["loss", "accuracy", "share of neurons that fire in a step"]
    losses = panels[0]["curves"][1]["points"]
    assert losses[:3] == [[1, 2.4], [2, 1.2], [3, 2.4 / 3]]
    assert [x for x, _ in panels[1]["curves"][0]["points"]][:2] == [1, 3]  # what was not a number is a gap
    widget.screenshot(path=pictures / "training_monitor.png")
    assert not notebook.idle()
    widget.get_by_role("button").click()
    notebook.wait_done()
    assert "Training has ended." in widget.text_content()
    assert "epochs: True" in notebook.output(1)
    assert "stopped after 99999" not in notebook.output(1)
