"""What this machine offers, what is wrong with it, and the command that mends it: `snn-helpers doctor`."""

from __future__ import annotations

import importlib
import json
import os
import platform
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from snn_helpers._files import writable_folder
from snn_helpers._paths import data_home, logs_home, project_root, results_home, runs_home
from snn_helpers._versions import release

_SHOWN = ("snn_helpers", "torch", "snntorch", "tonic", "numpy", "numba", "jupyterlab", "ipywidgets", "anywidget")
_IMPORTED = ("numpy", "scipy", "numba", "torch", "snntorch", "tonic", "matplotlib", "sklearn", "papermill")
_LEAST_MEMORY, _LEAST_DISK = 2 * 2**30, 2**30  # bytes that training SpikingCNN, and the data and a few runs need
_DRIVER = Path("/proc/driver/nvidia/version")


class Finding(NamedTuple):
    """What a check says, and the command that mends what is wrong; None if nothing is."""

    text: str
    mend: str | None = None


def _reinstall(*packages: str) -> str:
    names = (f"{name}=={release(name)}" if release(name) else name for name in packages)
    return f"{sys.executable} -m pip install --force-reinstall --no-deps {' '.join(names)}"


def _install() -> str:
    """Return the command that installs what is missing."""
    if (project_root() / "Makefile").is_file():
        return f"make -C {project_root()} --always-make setup"
    return f"{sys.executable} -m pip install --upgrade 'snn_helpers[lab]'"


def check_python() -> Finding:
    """Release and place of the interpreter."""
    text = f"{platform.python_version()}, {sys.executable}, {platform.platform()}"
    return Finding(text, None if sys.version_info >= (3, 11) else "make PYTHON=python3.11 setup")


def check_packages() -> Finding:
    """Releases of what matters, and whether all that is asked for is there."""
    shown = ", ".join(f"{name} {release(name) or 'missing'}" for name in _SHOWN)
    try:
        asked = metadata.requires("snn_helpers") or []
    except metadata.PackageNotFoundError:
        return Finding(f"{shown}; snn_helpers runs from a folder and is not installed", _install())
    from packaging.requirements import Requirement

    lacking = []
    for requirement in map(Requirement, asked):
        extras = ("", "lab")
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            found = release(requirement.name)
            if found is None or not requirement.specifier.contains(found, prereleases=True):
                lacking.append(f"{requirement.name} is {found or 'missing'}, asked for is {requirement.specifier}")
    return Finding("; ".join([shown, *lacking]), _install() if lacking else None)


def check_imports() -> Finding:
    """Whether the packages can be loaded; the first that cannot is named."""
    for name in _IMPORTED:
        try:
            importlib.import_module(name)
        except Exception as err:  # a broken package raises whatever it likes
            package = {"sklearn": "scikit-learn"}.get(name, name)
            return Finding(f"{name} cannot be loaded: {type(err).__name__}: {_line(err)}", _reinstall(package))
    return Finding(f"{', '.join(_IMPORTED)} can be loaded")


def check_processor() -> Finding:
    """Cores, threads and vector instructions."""
    import psutil
    import torch

    usable: int = (
        len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count() or 1
    )
    vectors = torch.backends.cpu.get_cpu_capability()
    text = f"{platform.machine()}, {usable} cores, {torch.get_num_threads()} torch threads, vectors: {vectors}"
    if torch.get_num_threads() > usable:
        return Finding(f"{text}: more threads than cores are slower", "unset OMP_NUM_THREADS MKL_NUM_THREADS")
    return Finding(text)


def check_engine() -> Finding:
    """Engine that computes the networks here, and why; its kernels are compiled for that, or loaded."""
    import torch

    from snn_helpers.models.cnn import SpikingCNN
    from snn_helpers.models.network import frame_size

    model = SpikingCNN().eval()
    chosen = model.engine
    with warnings.catch_warnings(record=True) as said, torch.inference_mode():
        warnings.simplefilter("always")
        model(torch.zeros(1, 1, model.in_channels, *frame_size(model.image_size), dtype=torch.uint8))
    if model.engine != chosen:
        reason = str(said[-1].message) if said else "its kernels cannot be compiled"
        return Finding(f"{model.engine} (the plain loop), not {chosen}: {reason}", _reinstall("numba", "llvmlite"))
    reasons = {"cpu": "event-driven kernels, since the weights are float32 on a CPU",
               "cuda": "Triton kernels, since the weights are on a GPU",
               "snntorch": "the plain loop over snnTorch's neurons"}  # fmt: skip
    return Finding(f"{chosen}: {reasons.get(chosen, 'chosen by the network')}")


def check_kernels() -> Finding:
    """Where compiled kernels are kept: nowhere lasting means that they are compiled again and again."""
    from snn_helpers.events import frames

    dispatchers = (value for value in vars(frames).values() if hasattr(value, "stats"))
    folder = getattr(next(dispatchers).stats, "cache_path", None)
    if folder is None:
        return Finding("compiled kernels are not kept", "export NUMBA_CACHE_DIR=FOLDER   # one you may write to")
    writable_folder("NUMBA_CACHE_DIR", Path(folder))
    return Finding(f"compiled kernels are kept in {folder}")


def check_memory() -> Finding:
    """Free memory, within the limits of a container."""
    import torch

    from snn_helpers.training.estimate import free_memory

    free = free_memory(torch.device("cpu")) or 0
    text = f"{free / 2**30:.1f} GiB are free"
    if free < _LEAST_MEMORY:
        smaller = "snn-helpers train --batch_size 16   # or end other programs"
        return Finding(f"{text}; training takes up to 2 GiB", smaller)
    return Finding(text)


def check_folders() -> Finding:
    """Whether data, runs, logs and findings can be kept, and how much room there is."""
    homes = {"SNN_DATA_DIR": data_home(), "SNN_RUNS_DIR": runs_home(), "SNN_LOGS_DIR": logs_home(),
             "SNN_RESULTS_DIR": results_home()}  # fmt: skip
    free = []
    for variable, folder in homes.items():
        another = f"export {variable}=FOLDER   # one you may write to, with room in it"
        try:
            free.append(shutil.disk_usage(_nearest(folder)).free)
            _probe(variable, folder)
        except (OSError, ValueError) as err:
            return Finding(_line(err), another)
        if free[-1] < _LEAST_DISK:
            return Finding(f"{folder}: {free[-1] / 2**30:.1f} GiB are free there", another)
    return Finding(f"data in {data_home()}; {min(free) / 2**30:.0f} GiB are free")


def _nearest(folder: Path) -> Path:
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def _probe(variable: str, folder: Path) -> None:
    """Try to write where files will go, without leaving folders behind."""
    writable_folder(variable, _nearest(folder))


def check_notebooks() -> Finding:
    """JupyterLab and the kernel that notebooks run on."""
    missing = [name for name in ("jupyterlab", "ipykernel", "nbclient", "papermill") if release(name) is None]
    if missing:
        return Finding(f"missing: {', '.join(missing)}", _install())
    from jupyter_client.kernelspec import KernelSpecManager

    kernel = KernelSpecManager().get_kernel_spec("python3")
    program = kernel.argv[0]
    # "python" is this interpreter, by Jupyter's own rule.
    if os.path.isabs(program) and Path(program).resolve() != Path(sys.executable).resolve():
        own = f"{sys.executable} -m ipykernel install --sys-prefix"
        return Finding(f"the kernel python3 in {kernel.resource_dir} is another Python: {program}", own)
    return Finding(f"JupyterLab {release('jupyterlab')}, kernel python3 in {kernel.resource_dir}")


def check_widgets() -> Finding:
    """Both halves of the widgets: the packages here, and what JupyterLab shows them with in the browser."""
    from snn_helpers.widgets.base import widget_setting

    try:
        widget_setting()
    except ValueError as err:
        return Finding(_line(err), "unset SNN_WIDGETS")
    for package in ("anywidget", "ipywidgets", "jupyterlab_widgets"):
        if release(package) is None:
            return Finding(f"{package} is missing: figures are shown in place of widgets", _install())
    from jupyter_core.paths import jupyter_path

    for package, name in (("anywidget", "anywidget"), ("jupyterlab_widgets", "@jupyter-widgets/jupyterlab-manager")):
        folders = [Path(place) / name for place in jupyter_path("labextensions")]
        if not any((folder / "package.json").is_file() for folder in folders):
            return Finding(f"JupyterLab lacks the extension {name}", _reinstall(package))
        if name in _disabled():
            return Finding(f"JupyterLab's extension {name} is switched off", f"jupyter labextension enable {name}")
    return Finding(f"anywidget {release('anywidget')} and ipywidgets {release('ipywidgets')}, with JupyterLab's halves")


def _disabled() -> set[str]:
    """Return the extensions that JupyterLab's own settings switch off."""
    from jupyter_core.paths import jupyter_config_path

    found: Mapping[str, bool] = {}
    for folder in reversed(jupyter_config_path()):
        file = Path(folder) / "labconfig" / "page_config.json"
        if file.is_file():
            off = json.loads(file.read_text(encoding="utf-8")).get("disabledExtensions", {})
            found = {**found, **(off if isinstance(off, dict) else dict.fromkeys(off, True))}
    return {name for name, is_off in found.items() if is_off}


def check_gpu() -> Finding:
    """GPUs, and whether this build of torch can use them."""
    import torch

    if torch.cuda.is_available():
        each = (torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count()))
        return Finding(", ".join(f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for gpu in each))
    if torch.backends.mps.is_available():
        return Finding("Apple's (mps)")
    if _DRIVER.is_file():
        why = "this build of torch is for CPUs" if torch.version.cuda is None else "torch cannot use its driver"
        return Finding(f"an NVIDIA driver is here, but {why}", _install())
    return Finding("none; everything runs on the CPU")


CHECKS: Mapping[str, Callable[[], Finding]] = {
    "python": check_python,
    "packages": check_packages,
    "imports": check_imports,
    "processor": check_processor,
    "memory": check_memory,
    "gpu": check_gpu,
    "folders": check_folders,
    "kernels": check_kernels,
    "engine": check_engine,
    "notebooks": check_notebooks,
    "widgets": check_widgets,
}


def examine(checks: Mapping[str, Callable[[], Finding]] = CHECKS) -> Iterator[tuple[str, Finding]]:
    """Yield what each check finds; one that cannot even be made is a finding, too.

    Parameters
    ----------
    checks : dict of str to callable
        Subject to check.

    Yields
    ------
    subject, finding : str, Finding
        In the order of the checks.
    """
    for subject, check in checks.items():
        try:
            yield subject, check()
        except Exception as err:  # what is broken raises whatever it likes; the other checks are still made
            yield subject, Finding(f"cannot be told: {type(err).__name__}: {_line(err)}", _install())


def _line(err: BaseException) -> str:
    return re.sub(r"\s+", " ", str(err)).strip() or type(err).__name__


def report(checks: Mapping[str, Callable[[], Finding]] = CHECKS) -> int:
    """Print what each check finds, with the command that mends it; return the number of problems."""
    problems = 0
    for subject, finding in examine(checks):
        print(f"{'ok' if finding.mend is None else '!!'} {subject:<10} {finding.text}", flush=True)
        if finding.mend is not None:
            problems += 1
            print(f"   {'':<10} mend it with: {finding.mend}", flush=True)
    print("Everything is well." if not problems else f"{problems} of {len(checks)} need mending.")
    return problems
