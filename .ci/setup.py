"""Make the virtual environment of a checkout: `python3 .ci/setup.py FOLDER [EXTRAS]`, called by the Makefile.

uv installs, since it can do three things that pip cannot: leave out a package that another one asks for in vain (see
pyproject.toml), choose the build of torch that fits this machine, and say beforehand what it is going to install.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CPU_SIZE, CUDA_SIZE = "about 2.5 GB (0.7 GB to download)", "about 6 GB (3 GB to download)"

# What pip is configured with, for instance a mirror, holds for uv, too; uv does not read pip's configuration.
FROM_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}


def main(folder: Path, extras: str = "lab,test") -> None:
    """Make the environment in `folder`, or bring it up to date, with the package's `extras`."""
    make_environment(folder)
    python = folder / "bin" / "python"
    # --quiet twice: else pip warns, for each package it looks at, of each folder in its configuration that is gone.
    pip = [python, "-m", "pip", "install", "--quiet", "--quiet", "--disable-pip-version-check"]
    run([*pip, "--constraint", ROOT / "constraints.txt", "uv"], "cannot install uv, which installs the rest")
    environment = os.environ | settings_from_pip(python)
    install = [folder / "bin" / "uv", "pip", "install", "--python", python, "--constraint", ROOT / "constraints.txt"]
    install += ["--editable", f"{ROOT}[{extras}]"]
    backend = choose_torch(install, environment)
    # Compiled here, so that the first import is not slow, for each process that comes first.
    run([*install, *backend, "--compile-bytecode"], "cannot install the packages", env=environment)


def make_environment(folder: Path) -> None:
    """Make an empty environment, with the system's package manager's help where Debian left `venv` out of Python."""
    config = folder / "pyvenv.cfg"
    version = ".".join(map(str, sys.version_info[:3]))
    clear = ["--clear"] if config.is_file() and f"version = {version}\n" not in config.read_text() else []
    command = [sys.executable, "-m", "venv", *clear, folder]
    if can_make_environments() and subprocess.run(command).returncode == 0:
        return
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    if not shutil.which("apt-get"):
        sys.exit("setup: this Python cannot make virtual environments: its modules venv and ensurepip are needed.")
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if root and (not shutil.which("sudo") or subprocess.run([*root, "true"], capture_output=True).returncode):
        sys.exit(
            f"setup: the system package {package} is missing. Type this, then run make again:\n"
            f"apt-get install --yes {package}    # as root, for instance behind sudo"
        )
    print(f"setup: installing the system package {package}", flush=True)
    quiet = {"stdout": subprocess.DEVNULL, "env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}}
    run([*root, "apt-get", "update"], "cannot reach the system's packages", **quiet)
    run(
        [*root, "apt-get", "install", "--yes", "--no-install-recommends", package], f"cannot install {package}", **quiet
    )
    shutil.rmtree(folder, ignore_errors=True)
    run(command, "cannot make the virtual environment")


def can_make_environments() -> bool:
    """Return whether this Python has what `python -m venv` needs; asking first spares its own, longer message."""
    return subprocess.run([sys.executable, "-c", "import venv, ensurepip"], capture_output=True).returncode == 0


def settings_from_pip(python: Path) -> dict:
    """Return uv's environment variables for what pip is configured with, without local folders that are gone."""
    told = subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    settings = {"UV_INDEX_STRATEGY": "unsafe-best-match"}  # pip's: all indexes are equal
    for name, text in re.findall(r"^(?:global|install|site|user|:env:)\.([\w-]+)=(.*)$", told, re.MULTILINE):
        places = [place for place in str(ast.literal_eval(text)).split() if is_there(place)]
        if name in FROM_PIP and places:
            settings[FROM_PIP[name]] = (" " if name == "extra-index-url" else ",").join(places)
    if not os.access(Path.home() if Path.home().is_dir() else "/", os.W_OK):
        settings["UV_NO_CACHE"] = "1"
    return {name: value for name, value in settings.items() if name not in os.environ}


def is_there(place: str) -> bool:
    """Return False for a path or a file: address of this machine that does not exist."""
    path = place.removeprefix("file://")
    return Path(path).exists() if path.startswith(("/", "~", ".")) else True


def choose_torch(install: list, environment: dict) -> list:
    """Choose the build of torch, and say how large it is; return uv's options for it.

    uv's `auto` looks for an NVIDIA driver and takes torch from its makers' index: the build for CPUs where there is no
    GPU, else the one that fits the driver. Where that index cannot be reached, torch comes from where the rest comes
    from; for Linux that is mostly a CUDA build, which runs without a GPU, too.
    """
    once = environment | {"UV_HTTP_RETRIES": "0"}
    for backend in (["--torch-backend", "auto"], []):
        told = subprocess.run([*install, "--dry-run", *backend], env=once, capture_output=True, text=True)
        if told.returncode == 0:
            break
    cuda = re.search(r"^ \+ nvidia-", told.stderr, re.MULTILINE)
    new = re.search(r"^ \+ torch==(\S+)", told.stderr, re.MULTILINE)
    if new and cuda:
        why = "" if backend else ", since the index of its other builds cannot be reached from here"
        print(f"setup: torch {new[1]} with CUDA{why}: the environment takes {CUDA_SIZE}.", flush=True)
    elif new:
        print(f"setup: torch {new[1]} for CPUs: the environment takes {CPU_SIZE}.", flush=True)
    return backend


def run(command: list, problem: str, **options) -> None:
    """Run a command; end with one line where it fails."""
    code = subprocess.run(command, **options).returncode
    if code:
        sys.exit(f"setup: {problem}: {Path(command[0]).name} ended with code {code}; its message is above.")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
