"""The commands of data: `import` brings recordings in, `visualize-data` draws them."""

from __future__ import annotations

import argparse
import re
import sys

from snn_helpers._checks import check_int
from snn_helpers._files import writable_folder
from snn_helpers._paths import logs_home, user_path


def add_data_commands(commands) -> None:
    """Add `import` and `visualize-data` to the command line."""
    bring = commands.add_parser(
        "import",
        help="bring your own recordings in, as a data set with a name",
        description="Looks through the recordings, says what it found, and writes them as a data set: afterwards "
        "`--dataset NAME` and load_dataset(NAME) take it. Reads AEDAT 2, 3.1 and 4, EVT 2, 2.1 and 3, .dat, .es, .bin, "
        "HDF5, NumPy, CSV and MATLAB files; what a file is follows from its content.",
    )
    bring.add_argument("sources", nargs="+", metavar="SOURCE", help="folder <split>/<class>/<file> or <class>/<file>")
    bring.add_argument("--out", required=True, metavar="NAME", help="name of the data set")
    bring.add_argument("--labels", metavar="CSV", help="table: file, label[, start_us, stop_us, split, group]")
    bring.add_argument(
        "--group",
        metavar="REGEX",
        help="keep files together in one split (a person's, a session's) in whose path it finds the same, as in "
        r"'user\d+'; default the table's column group",
    )
    bring.add_argument("--slice_us", type=int, help="cut recordings into slices of so many µs")
    bring.add_argument("--overlap", type=float, default=0.0, help="share of a slice that the next repeats (default 0)")
    bring.add_argument("--sensor_size", type=int, nargs=2, metavar=("W", "H"), help="default what the files say")
    bring.add_argument("--unit", choices=("s", "ms", "us", "ns"), help="of times, where a file does not say it")
    bring.add_argument("--sort", action="store_true", help="sort events whose times run backwards")
    bring.add_argument("--dry_run", action="store_true", help="say what is there, and write nothing")
    bring.add_argument("--skip", action="store_true", help="leave out files that cannot be read")
    bring.add_argument("--replace", action="store_true", help="take the place of a data set of that name")
    bring.set_defaults(command=_import)

    view = commands.add_parser("visualize-data", help="draw recordings as figures")
    view.add_argument(
        "--dataset", default="simulated", help="simulated (default), motion, nmnist, or what was imported"
    )
    view.add_argument("--data_dir", help="folder of recordings (nmnist) or of built stores (simulated, motion)")
    view.add_argument("--split", default="train", choices=("train", "valid", "test"), help="default train")
    view.add_argument("--num_samples", type=int, default=10, help="recordings to draw (default 10)")
    view.add_argument("--time_steps", type=int, default=10, help="frames a recording, T (default 10)")
    view.add_argument("--plugins", metavar="FILES", help="files that register data sets of your own, joined by commas")
    view.add_argument("--log_dir", help="folder for the figures (default data in $SNN_LOGS_DIR, else in logs/)")
    view.set_defaults(command=_visualize_data)


def _import(args: argparse.Namespace) -> None:
    from snn_helpers.data.importing import check_import, find_recordings, import_recordings
    from snn_helpers.data.sources import SPLITS
    from snn_helpers.data.sources.imported import load_imported
    from snn_helpers.events.store import MANIFEST

    if not args.dry_run:
        check_import(args.out, args.slice_us, args.overlap, args.replace)
    reading = {"unit": args.unit, "sort": args.sort}
    found = find_recordings(args.sources, args.labels, args.sensor_size, args.group, **reading)
    print(found, flush=True)
    if found.problems and not args.skip:
        raise ValueError(f"{len(found.problems)} files cannot be read; they are named above. Add --skip to do without.")
    if args.dry_run:
        return
    folder = import_recordings(found, args.out, args.slice_us, args.overlap, args.replace, **reading)
    for split in SPLITS:
        if (folder / split / MANIFEST).is_file():
            print(load_imported(folder, args.out, split).provenance)
        elif found.groups:
            print(
                f"no {split} recordings: {len(found.groups)} groups, which stay whole, cannot be shared out so that "
                "training keeps every class; three or more with each class are needed",
                file=sys.stderr,
            )
        else:
            print(f"no {split} recordings: give three of a class or more", file=sys.stderr)
    print(f"written to {folder}; use it by `--dataset {args.out}`")


def _visualize_data(args: argparse.Namespace) -> None:
    from snn_helpers.data import load_dataset
    from snn_helpers.plots import draw_recording_sheet

    check_int("--num_samples", args.num_samples, low=1, high=100_000)
    check_int("--time_steps", args.time_steps, low=1, high=1000)
    folder = writable_folder("--log_dir", user_path(args.log_dir or logs_home() / "data"))
    dataset = load_dataset(args.dataset, args.data_dir, args.split).take(args.num_samples)
    for index in range(len(dataset)):
        frames = dataset.frames([index], args.time_steps)[:, 0]
        title = dataset.name_of(int(dataset.labels[index]))
        words = (title, str(dataset.provenance), dataset.is_nmnist)
        figure = draw_recording_sheet(dataset.events(index), frames, *words)
        slug = re.sub(r"\W+", "-", title.replace(" ", ""))
        path = folder / f"{dataset.provenance.dataset}-{args.split}-{index:03d}-{slug}.png"
        figure.savefig(path)
        print(path)
