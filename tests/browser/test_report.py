"""The HTML report opens in a real browser without network, and without a word on its console."""

from pathlib import Path

import matplotlib as mpl
import pytest

from snn_helpers import activity_report

mpl.use("Agg")


@pytest.fixture
def report(tmp_path, monkeypatch):
    """Return the path of a report with two figures, drawn from an untrained network."""
    import torch

    from snn_helpers import SpikingCNN
    from snn_helpers.activity_figures import Subject
    from snn_helpers.data import load_dataset
    from snn_helpers.training.config import TrainConfig

    torch.manual_seed(0)
    dataset = load_dataset("simulated", split="test").subset(range(12))
    subject = Subject(Path("best.pt"), dataset, loaded=(SpikingCNN().eval(), TrainConfig(time_steps=4)))
    sections = []
    for name in ("rates", "confusion"):
        figure, caption = activity_report.FIGURES[name](subject)
        path = tmp_path / f"{name}.png"
        figure.savefig(path)
        mpl.pyplot.close(figure)
        sections.append(activity_report._section(name, caption, path.read_bytes()))
    page = tmp_path / "moved" / "report.html"
    page.parent.mkdir()
    page.write_text(activity_report._page(subject, sections), encoding="utf-8")
    return page


def test_report_opens_without_network_and_without_console_messages(offline_page, report):
    page = offline_page(report)
    sizes = page.evaluate("[...document.images].map(image => [image.naturalWidth, image.clientWidth])")
    assert len(sizes) == 2
    assert all(natural > 300 and shown > 300 for natural, shown in sizes)
    assert page.title() == "What the cnn does"
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
