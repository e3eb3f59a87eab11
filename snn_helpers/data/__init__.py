"""Data sets: sources by name, splits, augmentation, and batches of frames as torch tensors."""

from snn_helpers.data.dataset import EventDataset, EventsPooledWarning, Provenance, same_recordings
from snn_helpers.data.loader import FrameLoader
from snn_helpers.data.sources import SPLITS, load_dataset, register_source
from snn_helpers.data.sources.nmnist import DownloadError, find_real_recordings, load_folds
from snn_helpers.events.frames import Augment
from snn_helpers.events.store import StoreError

__all__ = [
    "SPLITS",
    "Augment",
    "DownloadError",
    "EventDataset",
    "EventsPooledWarning",
    "FrameLoader",
    "Provenance",
    "StoreError",
    "find_real_recordings",
    "load_dataset",
    "load_folds",
    "register_source",
    "same_recordings",
]
