"""What a file format has to say of itself, and kinds of files that hold no events but are taken for recordings."""

from __future__ import annotations

import mmap
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from snn_helpers.events.dtype import RecordingError

HEAD_BYTES = 4096
_ALWAYS_BYTES = 64 << 20  # so much may be unpacked from any file
_LARGEST_RATIO = 100  # packed recordings have ten times less than what they hold


class Options(NamedTuple):
    """What a caller says of a file that does not say it itself.

    Attributes
    ----------
    columns, unit
        As `to_events` takes them.
    sensor_size : (W, H, P) or None
    block : int
        Events a block, as far as the format can be cut; 0 for all at once.
    """

    columns: Any = None
    unit: str | None = None
    sensor_size: tuple[int, int, int] | None = None
    block: int = 0


@dataclass
class Reading:
    """A file that is open to be read.

    Attributes
    ----------
    blocks : iterator
        The events, some at a time and in order, each as `to_events` takes them.
    sensor_size : (W, H, P) or None
        What the file says; None if it says nothing.
    unit : str or None
        Unit of the blocks' times; None if the file does not say.
    columns : str, sequence of str or None
        What the blocks' columns are, as `to_events` takes it.
    """

    blocks: Iterator[Any]
    sensor_size: tuple[int, int, int] | None = None
    unit: str | None = "us"
    columns: Any = None


@dataclass(frozen=True)
class Format:
    """One file format.

    Attributes
    ----------
    name : str
        Short, as users type it.
    title : str
        As messages call a file of it.
    suffixes : tuple of str
        Usual endings of names, the first for writing.
    fits : callable (head, size, path) -> bool
        Whether a file is of this format, by its first bytes and its size; opens the file only if these do not tell.
    read : callable (path, Options) -> Reading
    write : callable (path, events, sensor_size) or None
        Writes checked events of a sensor; None if the format cannot be written.
    has_mark : bool
        Whether its files begin with a mark of their own; those that do not are tried after all other kinds of files.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    fits: Callable[[bytes, int, Path], bool]
    read: Callable[[Path, Options], Reading]
    write: Callable[[Path, np.ndarray, tuple[int, int, int]], None] | None = None
    has_mark: bool = True


@dataclass(frozen=True)
class Foreign:
    """A kind of file that is not read.

    Attributes
    ----------
    title : str
        What it is.
    advice : str
        What makes a recording of it.
    """

    title: str
    advice: str
    name: str = field(default="", init=False)


_FRAMES = "`simulate_events` makes events of a video's frames."
_UNPACK = "Unpack it first."
_PICKLE = "It could run code when read; save the events with np.savez(x=, y=, t=, p=)."
_FOREIGN = (
    (b"#ROSBAG", "a ROS bag", "Convert it with the package rosbags: write its event messages to .npz with x, y, t, p."),
    (b"\x1f\x8b\x08", "a gzip archive", _UNPACK),
    (b"BZh91AY&SY", "a bzip2 archive", _UNPACK),
    (b"\xfd7zXZ", "an xz archive", _UNPACK),
    (b"7z\xbc\xaf", "a 7-Zip archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", _UNPACK),
    (b"\x04\x22\x4d\x18", "an LZ4 archive", _UNPACK),
    (b"PK\x03\x04", "a ZIP archive", "Unpack it first; a saved PyTorch file holds no recording."),
    (b"GIF8", "a GIF", _FRAMES),
    (b"\x89PNG", "a PNG picture", _FRAMES),
    (b"\xff\xd8\xff", "a JPEG picture", _FRAMES),
    (b"RIFF", "an AVI video or a sound", _FRAMES),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video", _FRAMES),
    (b"%PDF", "a PDF", "Choose the recording itself."),
    (b"\x7fELF", "a program", "Choose the recording itself."),
    (b"SQLite format 3", "an SQLite database", "A ROS 2 bag is one; convert it with the package rosbags."),
    (b"\x89MCAP0", "an MCAP (ROS 2) bag", "Convert it with the package rosbags: write its events to .npz."),
    (b"PAR1", "a Parquet table", "Read it with pandas and hand the data frame to `to_events`."),
    (b"ARROW1", "a Feather table", "Read it with pandas and hand the data frame to `to_events`."),
    (b"Event Stream", "an Event Stream without DVS events", "Only its DVS events can be read; choose such a file."),
    (b"#!AER-DAT1", "AEDAT 1", "Convert it to AEDAT 2 with jAER."),
    (b"#!AER-DAT", "AEDAT of a version that is not read", "Those of 2.0, 3.1 and 4.0 are. Convert it."),
    (b"\x80\x04\x95", "a Python pickle", _PICKLE),
    (b"\x80\x05\x95", "a Python pickle", _PICKLE),
)  # fmt: skip


def foreign_kind(head: bytes) -> Foreign | None:
    """Return which other kind of file begins like this, if it is a known one."""
    for mark, title, advice in _FOREIGN:
        if head.startswith(mark):
            return Foreign(title, advice)
    if head[4:8] == b"ftyp":
        return Foreign("an MP4 or MOV video", _FRAMES)
    if head[257:262] == b"ustar":
        return Foreign("a tar archive", _UNPACK)
    fields, _ = percent_header(head)
    if evt := fields.get("evt") or fields.get("format", "").partition(";")[0]:
        return Foreign(f"a Prophesee raw file of EVT {evt.upper().removeprefix('EVT')}",
                       "EVT 2.0, 2.1 and 3.0 are read. Convert it with `metavision_file_to_dat`.")  # fmt: skip
    return None


def read_head(path: Path) -> tuple[bytes, int]:
    """Return a file's first bytes and its size."""
    with open(path, "rb", buffering=0) as file:
        return file.read(HEAD_BYTES), path.stat().st_size


def percent_header(head: bytes) -> tuple[dict[str, str], int]:
    """Return the fields and the length of a header of lines `% key value`, which binary data follow."""
    fields, at = {}, 0
    while head[at : at + 1] == b"%":
        stop = head.find(b"\n", at)
        line = head[at + 1 : stop]
        if stop < 0 or not all(32 <= byte < 127 or byte in b"\t\r" for byte in line):
            break
        at = stop + 1
        words = line.decode("ascii").strip()
        if words == "end":
            break
        key, _, value = words.partition(" ")
        fields[key.lower()] = value.strip()
    return fields, at


def read_percent_header(path: Path) -> tuple[dict[str, str], bytes, int]:
    """Return the fields of a file's header as `percent_header` does, the first bytes, and where events begin in them.

    A header of which there is more is refused: its words would be taken for events.
    """
    head, _ = read_head(path)
    fields, start = percent_header(head)
    rest = head[start:]
    if len(head) == HEAD_BYTES and (len(rest) < 2 or (rest.startswith(b"%") and rest.isascii() and b"\n" not in rest)):
        raise RecordingError(f"{path}: its header does not end; the file is damaged.")
    return fields, head, start


def stated_size(width: str, height: str) -> tuple[int, int, int] | None:
    """Return the sensor's size (W, H, 2) of a header's words, or None if they are none that can be."""
    told = width.isdecimal() and height.isdecimal() and 0 < int(width) <= 2**15 and 0 < int(height) <= 2**15
    return (int(width), int(height), 2) if told else None


def mapped(path: Path, dtype: str | np.dtype, offset: int) -> np.ndarray:
    """Memory-map the items of a file from `offset` on; a last one that is cut short is refused."""
    size, item = max(0, path.stat().st_size - offset), np.dtype(dtype).itemsize
    count = size // item
    if size % item:
        raise RecordingError(f"{path}: its {size} bytes of events are no multiple of {item}; the file is cut short.")
    if not count:
        return np.empty(0, dtype)
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=(count,))


def stretches(total: int, length: int, data: np.ndarray | None = None) -> Iterator[slice]:
    """Cut 0..total into slices of `length`; 0 for one. What was read of a mapped file is let go after each."""
    length = length or max(1, total)
    for start in range(0, total, length):
        yield slice(start, min(start + length, total))
        let_go(data)


def let_go(data: np.ndarray | None) -> None:
    """Give back the pages of a mapped file, which count as the process's memory until others need it."""
    if data is not None and isinstance(data.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        data.base.madvise(mmap.MADV_DONTNEED)


@contextmanager
def library(path: Path, title: str) -> Iterator[None]:
    """Turn what a library raises about a file, which may be anything, into a `RecordingError`; drop its warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (RecordingError, ModuleNotFoundError):
        raise
    except Exception as err:
        raise RecordingError(f"{path}: the {title} file cannot be read ({str(err)[:300]}). Is it cut short?") from err


def library_blocks(path: Path, title: str, blocks: Iterator[Any]) -> Iterator[Any]:
    """Hand blocks on, each made within `library`, but used outside of it."""
    done = object()
    while True:
        with library(path, title):
            block = next(blocks, done)
        if block is done:
            return
        yield block


def most_unpacked(path: Path) -> int:
    """Return how many bytes a file's content may have."""
    return max(_ALWAYS_BYTES, _LARGEST_RATIO * path.stat().st_size)


def check_unpacked(path: Path, size: int) -> None:
    """Refuse content of `size` bytes that is too large for its file, before memory is asked for."""
    if size > most_unpacked(path):
        packed = path.stat().st_size
        raise RecordingError(f"{path}: would unpack to {size:,} bytes or more from {packed:,}; that is no recording.")
