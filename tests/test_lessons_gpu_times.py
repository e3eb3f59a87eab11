"""The stored times on a GPU are those that the benchmark wrote."""

import json
from pathlib import Path

from snn_helpers import lessons

MEASURED = json.loads((Path(__file__).parents[1] / "docs/gpu.json").read_text(encoding="utf-8"))


def milliseconds(num_steps, batch_size, name):
    wanted = {"network": "SpikingCNN", "norm": "batch", "T": num_steps, "B": batch_size, "name": name}
    (row,) = [row for row in MEASURED["times"] if wanted.items() <= row.items()]
    return row["train ms"]


def test_stored_gpu_times_are_the_measured_ones():
    stored = lessons.stored_gpu_times()
    names = {"as train runs it": "ours (exact), no graph", "in a CUDA graph": "ours (exact)"}
    assert stored.card == MEASURED["card"]
    _, torch_version, triton_version = MEASURED["figures"]["card, PyTorch, Triton"]
    assert stored.software == f"PyTorch {torch_version}, Triton {triton_version}"
    for way, name in names.items():
        assert stored.small_step[way] == milliseconds(8, 64, name)
        for batch_size, value in stored.by_batch[way].items():
            assert value == milliseconds(25, batch_size, name)
