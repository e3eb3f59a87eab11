"""One HTML page of the figures of a trained network's activity, and the figures as files."""

from __future__ import annotations

import html
import time
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

from snn_helpers import activity, plots
from snn_helpers._checks import check_choice, check_int
from snn_helpers._files import writable_folder
from snn_helpers._paths import runs_home, user_path
from snn_helpers.activity_figures import FIGURES, Caption, Subject
from snn_helpers.data import load_dataset
from snn_helpers.training.build import load_model


def find_checkpoint(model: str) -> Path:
    """Return the newest `best.pt` of this kind of network in the folder of runs.

    Raises
    ------
    ValueError
        If there is none; it says how to make one.
    """
    found = sorted(runs_home().glob(f"train-{model}-*/best.pt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise ValueError(
            f"there is no trained {model} under {runs_home()}. Make one with `snn-helpers train --model {model}`, or "
            "name a checkpoint with --resume PATH."
        )
    return found[-1]


def write_activity_report(
    checkpoint: str | Path,
    log_dir: str | Path,
    figures: Sequence[str] = tuple(FIGURES),
    dataset: str | None = None,
    data_dir: str | None = None,
    split: str = "valid",
    num_samples: int = 200,
    sample: int = 0,
    plugins: str | None = None,
) -> list[Path]:
    """Draw a trained network's activity into a folder, and an HTML page that holds every figure.

    Parameters
    ----------
    checkpoint : path
        Of a training run.
    log_dir : path
        Folder for the figures and `report.html`; made if need be.
    figures : sequence of str
        Keys of `FIGURES`.
    dataset, data_dir : str or None
        Recordings to look at; None takes those that the network was trained on.
    split : {"valid", "train", "test"}
        Of them; looking at the test split again and again spoils it.
    num_samples : int
        Recordings, the same share of every class.
    sample : int
        Which of them stands in the figures of a single recording.
    plugins : str or None
        Plugin files of the network, where they were moved.

    Returns
    -------
    list of Path
        The PNG files, and `report.html` last. The page needs no network and no other file.
    """
    for name in figures:
        check_choice("figures", name, tuple(FIGURES))
    if not figures:
        raise ValueError(f"`figures` is empty; there are {', '.join(FIGURES)}.")
    folder = writable_folder("log_dir", user_path(log_dir))
    model, config = load_model(checkpoint, plugins=plugins)
    same = dataset in (None, config.dataset)
    recordings = load_dataset(dataset or config.dataset, data_dir or (config.data_dir if same else None), split)
    recordings = recordings.pooled(config.image_size)
    chosen = recordings.take(check_int("num_samples", num_samples, low=10))
    subject = Subject(checkpoint, chosen, sample, (model, config))
    paths, sections = [], []
    for name in FIGURES:
        if name not in figures:
            continue
        with mpl.rc_context(plots.theme_settings()):
            figure, caption = FIGURES[name](subject)
            image = plots.as_png(plots.stamp(figure, str(subject)))
        paths.append(folder / f"{name}.png")
        paths[-1].write_bytes(image)
        sections.append(_section(name, caption, image))
    paths.append(folder / "report.html")
    paths[-1].write_text(_page(subject, sections), encoding="utf-8")
    return paths


def _section(name: str, caption: Caption, image: bytes) -> str:
    title, sentence = html.escape(caption.title), html.escape(caption.sentence)
    figure = f"<figure>{plots.as_img(image, caption.alt)}<figcaption>{sentence}</figcaption></figure>"
    return f'<section id="{name}"><h2>{title}</h2>{figure}</section>'


def _page(subject: Subject, sections: Sequence[str]) -> str:
    right = subject.decided.final == subject.labels
    curve = activity.anytime(subject.decided, subject.labels, subject.step_ms)
    facts = {
        "checkpoint": subject.checkpoint.name,
        "recordings": str(subject.dataset.provenance),
        "accuracy on them": f"{100 * right.mean():.1f} %, 95 % interval {100 * curve.low[-1]:.1f} to "
        f"{100 * curve.high[-1]:.1f} %, n = {curve.total}",
        "steps": f"T = {subject.config.time_steps}, {subject.step_ms:.3g} ms each",
        "made": time.strftime("%Y-%m-%d %H:%M"),
    }
    rows = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in facts.items())
    title = f"What the {subject.config.model} does"
    return _PAGE.format(title=html.escape(title), rows=rows, sections="\n".join(sections))


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --paper: #fff; --ink: #1a1a1a; --line: #d5d5d5; }}
@media (prefers-color-scheme: dark) {{ :root {{ --paper: #16181c; --ink: #e8e8e8; --line: #3a3d44; }} }}
body {{ background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 62rem; padding: 0 1rem; }}
table {{ border-collapse: collapse; }}
th, td {{ border-bottom: 1px solid var(--line); padding: .25rem .75rem .25rem 0; text-align: left;
  font-weight: normal; }}
figure {{ margin: 0; }}
img {{ background: #fff; border-radius: 6px; display: block; height: auto; max-width: 100%; padding: 6px; }}
figcaption {{ margin-top: .4rem; max-width: 45rem; }}
</style>
</head>
<body>
<h1>{title}</h1>
<table>{rows}</table>
{sections}
</body>
</html>
"""
