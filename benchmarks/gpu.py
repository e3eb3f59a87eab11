"""Is the GPU engine exact, and how fast is it beside the loop, SpikingJelly, torch.compile and a dense network.

Run `python benchmarks/gpu.py` on a machine with an NVIDIA GPU; `--without-compile` leaves out torch.compile, which
takes two minutes. It checks before it times, every part on its own, and ends within four minutes. The table goes to the
terminal, all figures to benchmarks/results/gpu.json (or into the folder that the environment variable OUT names).
SpikingJelly is left out where it is not installed (see `engine.py`).
Without a GPU it is rehearsed with tiny sizes by torch on the CPU: its figures then mean nothing.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from _gpu import (
    DEVICE,
    REHEARSAL,
    Folded,
    Lif,
    Recordings,
    SpikingJelly,
    allocated,
    captured,
    milliseconds,
    model_of,
    peak_mib,
    precision,
    train_step,
)
from _measure import RESULTS
from torch import nn
from torch.nn import functional as F

from snn_helpers.activity.taps import attach
from snn_helpers.engine import Spikes

LIMIT_S = float(os.environ.get("GPU_LIMIT_S", 230))
OUT = Path(os.environ.get("OUT") or RESULTS)
GO = OUT / "compiled.go"
T, B = (3, 2) if REHEARSAL else (25, 128)
SIZES = [(T, B)] if REHEARSAL else [(25, 128), (25, 32), (25, 512), (8, 64)]
OURS, EAGER, LOOP = "ours (exact)", "ours (exact), no graph", "snnTorch's loop (float32)"
PEER, DENSE, COMPILED = "SpikingJelly multi-step (TF32)", "dense ReLU (TF32)", "torch.compile, folded (TF32)"
START = time.perf_counter()

figures: dict[str, object] = {}
rows: list[dict] = []


def left() -> float:
    return LIMIT_S - (time.perf_counter() - START)


def say(key: str, value: object = "") -> None:
    figures[key] = value
    print(f"[{time.perf_counter() - START:5.1f} s] {key}: {value}", flush=True)


def part(name: str, work: Callable[[], None], needs_s: float = 5.0) -> None:
    """Do one part of the benchmark: what fails is told, and the others go on."""
    if left() < needs_s:
        say(f"SKIPPED {name}", "no time left")
        return
    try:
        work()
    except Exception:
        say(f"FAILED {name}", traceback.format_exc()[-2500:])
    if not REHEARSAL:
        torch.cuda.empty_cache()


# ------------------------------------------------------------------------------------------------ kernels ahead
def dry_runs(stage: int) -> None:
    """Run what will be measured on the device "meta", so that its kernels are known."""
    sizes = SIZES[:1] if stage == 0 else SIZES[1:]
    for steps, batch in sizes:
        for network in ("SpikingCNN", "SpikingResNet") if stage == 0 else ("SpikingCNN",):
            for norm in ("batch",) if network == "SpikingResNet" else ("none", "batch"):
                model = model_of(network, norm).to("meta")
                frames = torch.empty(steps, batch, 2, 34, 34, dtype=torch.uint8, device="meta")
                model(frames).spk_rec.sum().backward()
                with torch.no_grad():
                    model.eval()(frames)


def compile_kernels(stage: int, workers: int) -> None:
    from snn_helpers.engine.cuda import ahead

    major, minor = torch.cuda.get_device_capability()
    with ahead.recording() as launches:
        dry_runs(stage)
    reports = ahead.compile_launches(launches, 10 * major + minor, workers)
    bad = [f"{r.launch.name} {dict(r.launch.meta)}: {r.error[:300]}" for r in reports if r.error]
    spilling = {f"{r.launch.name} {r.launch.meta[:4]}": r.spilled for r in reports if r.spilled}
    say(f"kernels compiled ahead, stage {stage}", {"kernels": len(reports), "failed": bad, "spilled bytes": spilling})


# ------------------------------------------------------------------------------------------------ checks
def run_watched(model, frames, labels=None):
    """Return each layer's spikes uint8, and the gradients of all parameters if there are labels."""
    spikes = {}

    def on_layer(name, spk, mem, whole):
        spikes[name] = (spk.count if isinstance(spk, Spikes) else spk.detach()).to(torch.uint8)

    with attach(model, None, on_layer, mem=False):
        out = model(frames)
    if labels is None:
        return spikes, {}
    model.zero_grad()
    F.cross_entropy(out.spk_rec.sum(0), labels).backward()
    return spikes, {name: p.grad.double() for name, p in model.named_parameters() if p.grad is not None}


def far(grads: dict, exact: dict) -> dict[str, str]:
    size = {name: float((grads[name] - exact[name]).norm() / (exact[name].norm() + 1e-30)) for name in exact}
    worst = max(size, key=size.get)
    whole = sum(float((grads[n] - exact[n]).norm() ** 2) for n in exact) / sum(
        float(exact[n].norm() ** 2) for n in exact
    )
    return {"all": f"{whole**0.5:.1e}", "worst": f"{size[worst]:.1e} {worst}"}


def check_layers(data: Recordings, network: str, norm: str) -> None:
    """Spikes of every layer against float32, training and not; gradients against float64."""
    frames, labels = data.batch(T, B)
    ours, loop = model_of(network, norm), model_of(network, norm, "snntorch")
    (spikes, grads), (expected, plain) = run_watched(ours, frames, labels), run_watched(loop, frames, labels)
    differ = {name: int((spikes[name] != expected[name]).sum()) for name in expected}
    say(f"spikes that differ from float32, {network}, norm {norm}", differ)
    say(f"firing, {network}, norm {norm}", {k: round(float(v.float().mean()), 4) for k, v in expected.items()})
    far_from = {"ours from float32": far(grads, plain)}
    few, from_exact = slice(0, 32), {}
    exact = model_of(network, norm, "snntorch").double()
    fired, truth = run_watched(exact, frames[:, few].double(), labels[few])
    for name, engine in (("ours", "cuda"), ("float32", "snntorch")):
        spikes, grads = run_watched(model_of(network, norm, engine), frames[:, few], labels[few])
        far_from[f"{name} from float64, B = 32"] = far(grads, truth)
        from_exact[name] = {layer: int((spikes[layer] != fired[layer]).sum()) for layer in fired}
    say(f"spikes that differ from float64, B = 32, {network}, norm {norm}", from_exact)
    say(f"gradients: relative distance, {network}, norm {norm}", far_from)
    with torch.no_grad():
        seen, expected = (run_watched(model.eval(), frames)[0] for model in (ours, loop))
    differ = {name: int((seen[name] != expected[name]).sum()) for name in expected}
    say(f"spikes that differ from float32 in eval mode, {network}, norm {norm}", differ)


def check_tf32(data: Recordings) -> None:
    """For comparison: what TF32 does to the same spikes."""
    frames, _ = data.batch(T, B)
    with torch.no_grad():
        expected = run_watched(model_of("SpikingCNN", "none", "snntorch"), frames)[0]
        with precision("tf32"):
            seen = run_watched(model_of("SpikingCNN", "none", "snntorch"), frames)[0]
    say("spikes that differ with TF32", {name: int((seen[name] != expected[name]).sum()) for name in expected})


def check_graph(data: Recordings) -> None:
    """Weights after some steps with graphs and without, bit for bit; an odd batch in between."""
    frames, labels = data.batch(T, B)
    for network, norm, dropout in (
        ("SpikingCNN", "none", 0.0),
        ("SpikingCNN", "batch", 0.2),
        ("SpikingResNet", "batch", 0.2),
    ):
        states = []
        for graph in (True, False):
            model = model_of(network, norm, dropout=dropout)
            step = train_step(lambda x, m=model: m(x).spk_rec, model, graph, lr=1e-3, clip=1.0)
            if not graph and not REHEARSAL:
                from snn_helpers.engine.cuda.graphs import make_capturable

                make_capturable(step.optimizer)
            torch.manual_seed(1)
            losses = []
            for number in range(8):
                some = slice(0, B // 2 + 1) if number == 4 else slice(None)
                losses.append(float(step(frames[:, some].contiguous(), labels[some])[0]))
            states.append((model.state_dict(), losses, len(step._captured), step.graphs))
        (one, losses, graphs, still), (other, eager, _, _) = states
        differ = [name for name in one if not torch.equal(one[name], other[name])]
        say(
            f"graph against eager, {network}, norm {norm}, dropout {dropout}",
            {"tensors that differ": differ, "graphs": graphs, "captured": still, "losses": losses, "eager": eager},
        )


def check_frames(data: Recordings) -> None:
    """Frames binned on the device against the CPU's, plain and augmented; and the time."""
    from snn_helpers.engine.cuda.frames import DeviceEvents
    from snn_helpers.events.frames import Augment, FrameSpec, bin_frames

    dataset = data.sets[0]
    store = dataset._store
    arrays = store.x, store.y, store.t, store.p
    events = DeviceEvents(*arrays, store.offsets, dataset.sensor_size, DEVICE)
    chosen = torch.arange(len(store.offsets) - 1)[:: max(1, (len(store.offsets) - 1) // B)][:B]
    where, differ = chosen.to(DEVICE), {}
    for name, change in (("plain", Augment()), ("shift, drop, warp", Augment(2, 0.1, 0.15))):
        spec, settings = FrameSpec(T), {"max_shift": change.max_shift, "drop": change.drop, "warp": change.warp}
        expected = bin_frames(arrays, store.offsets, chosen.numpy(), dataset.sensor_size, spec, change, seed=7)
        got = events.frames(where, T, seed=7, **settings).cpu()
        differ[name] = int((got != torch.from_numpy(expected)).sum())
        differ[f"{name}, ms"] = round(milliseconds(lambda s=settings: events.frames(where, T, seed=7, **s)), 4)
    say(f"bins that differ from the CPU's, B = {len(chosen)}", differ)
    if REHEARSAL:
        return
    model, labels = model_of("SpikingCNN", "batch"), torch.tensor(store.labels[:].tolist(), device=DEVICE)
    step = train_step(lambda x: model(x).spk_rec, model, graph=True, lr=1e-3)
    steps = 120
    for number in range(steps + 20):
        if number == 20:
            torch.cuda.synchronize()
            started = time.perf_counter()
        which = torch.randint(len(labels), (B,), device=DEVICE)
        step(events.frames(which, T, max_shift=2, drop=0.1, seed=number), labels[which])
    torch.cuda.synchronize()
    say("training from events on the device, recordings a second", round(steps * B / (time.perf_counter() - started)))


# ------------------------------------------------------------------------------------------------ times
def contenders(network: str, norm: str, steps: int, batch: int) -> dict[str, Callable]:
    """Return functions that build (train step, forward pass, precision), by name."""

    def ours(graph):
        model = model_of(network, norm)
        return train_step(lambda x: model(x).spk_rec, model, graph), model, graph

    def loop():
        model = model_of(network, norm, "snntorch")
        return train_step(lambda x: model(x).spk_rec, model), model, False

    def folded(make):
        net = make(model_of(network, norm)).to(DEVICE)
        return train_step(lambda x: net(x.float()), net), lambda x: net(x.float()), False

    made = {OURS: lambda: ours(True), EAGER: lambda: ours(False), PEER: lambda: folded(SpikingJelly)}
    if norm == "none":
        made[DENSE] = lambda: folded(lambda model: Folded(model, nn.ReLU, channels_last=True))
    if (steps, batch) == SIZES[0]:
        made[LOOP] = loop
    return made


def measure(data: Recordings, network: str, norm: str, steps: int, batch: int) -> None:
    """Time the train step and the forward pass of all contenders, and their memory."""
    frames, labels = data.batch(steps, batch)
    for name, make in contenders(network, norm, steps, batch).items():
        if left() < 12:
            say(f"SKIPPED {name}, {network}, norm {norm}, T {steps}, B {batch}", "no time left")
            continue
        try:
            with precision("tf32" if "TF32" in name else "ieee"):
                before = allocated(reset=True)
                step, forward, graph = make()
                slow = name == LOOP
                train = milliseconds(lambda s=step: s(frames, labels), 3 if slow else 9, 1 if slow else 4)
                made = round((allocated() - before) / 2**20)  # with weights and their optimiser
                memory = made if graph else round(peak_mib(lambda s=step: s(frames, labels)))
                if isinstance(forward, nn.Module):
                    forward.eval()
                with torch.no_grad():
                    once = functools.partial(forward, frames)
                    once = captured(once) if graph else once
                    infer = milliseconds(once, 3 if slow else 9, 1)
            row = {"network": network, "norm": norm, "T": steps, "B": batch, "name": name, "train ms": round(train, 3)}
            rows.append({**row, "forward ms": round(infer, 3), "peak MiB": memory})
            say("time", rows[-1])
        except Exception:
            say(f"FAILED {name}, {network}, norm {norm}, T {steps}, B {batch}", traceback.format_exc()[-1500:])
        step = forward = once = None
        if not REHEARSAL:
            torch.cuda.empty_cache()


def profile(data: Recordings, network: str, norm: str) -> None:
    """Where the time of our train step goes."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    frames, labels = data.batch(T, B)
    model = model_of(network, norm)
    step = train_step(lambda x: model(x).spk_rec, model)
    for _ in range(3):
        step(frames, labels)
    torch.cuda.synchronize()
    with profiler(activities=[ProfilerActivity.CUDA]) as seen:
        for _ in range(3):
            step(frames, labels)
        torch.cuda.synchronize()
    times: dict[str, list[float]] = {}
    for event in seen.events():
        if "CUDA" in str(event.device_type):
            times.setdefault(event.name[:60], []).append(event.time_range.elapsed_us() / 3e3)
    total, count = sum(map(sum, times.values())), sum(map(len, times.values())) // 3
    top = sorted(times.items(), key=lambda item: -sum(item[1]))[:24]
    say(
        f"profile, {network}, norm {norm}: {total:.3f} ms on the device, {count} launches",
        {
            name: f"{sum(ms):.3f} x{len(ms) // 3} {[round(3 * m, 3) for m in ms[: len(ms) // 3][:8]]}"
            for name, ms in top
        },
    )
    for name, ms in top:
        print(f"    {sum(ms):7.3f} ms x{len(ms) // 3:3} {name} {[round(3 * m, 3) for m in ms[: len(ms) // 3][:8]]}")


def compiled_contender() -> None:
    """torch.compile on the folded network, in a process of its own: compile, wait for the go, time alone."""
    data = Recordings()
    frames, labels = data.batch(T, B)
    with precision("tf32"):
        net = Folded(model_of("SpikingCNN", "none"), Lif, channels_last=True).to(DEVICE)
        fast, x = torch.compile(net), frames.float()
        step = train_step(lambda _: fast(x), net)
        started = time.perf_counter()
        step(frames, labels)
        torch.cuda.synchronize()
        print(f"compiled in {time.perf_counter() - started:.0f} s", flush=True)
        while not GO.exists():
            time.sleep(0.05)
        work = functools.partial(step, frames, labels)
        result = {"train ms": round(milliseconds(work), 3), "peak MiB": round(peak_mib(work))}
        print("RESULT", json.dumps(result), flush=True)


def finish_compiled(process: subprocess.Popen, log: Path) -> None:
    while "compiled in" not in log.read_text() and process.poll() is None and left() > 12:
        time.sleep(0.5)
    GO.touch()
    try:
        process.wait(timeout=max(1.0, min(15.0, left() - 3)))
    except subprocess.TimeoutExpired:
        process.kill()
    lines = log.read_text().splitlines()
    found = next((line for line in lines if line.startswith("RESULT")), None)
    if found is None:
        say("torch.compile: no result", "\n".join(lines)[-800:])
        return
    row = {"network": "SpikingCNN", "norm": "none", "T": T, "B": B, "name": COMPILED, "forward ms": None}
    rows.append({**row, **json.loads(found.removeprefix("RESULT "))})
    say("torch.compile", next(line for line in lines if line.startswith("compiled in")))


def show(card: str) -> None:
    print(f"\n{card}, PyTorch {torch.__version__}")
    print(f"{'network':14}{'norm':6}{'T':>4}{'B':>5}  {'':34}{'train ms':>10}{'forward ms':>12}{'peak MiB':>10}")
    for row in rows:
        train, forward, peak = (
            row[key] if row[key] is not None else "-" for key in ("train ms", "forward ms", "peak MiB")
        )
        where = f"{row['network']:14}{row['norm']:6}{row['T']:4}{row['B']:5}"
        print(f"{where}  {row['name']:34}{train:>10}{forward:>12}{peak:>10}")


def main() -> int:
    OUT.mkdir(parents=True, exist_ok=True)
    if "--compile" in sys.argv:
        compiled_contender()
        return 0
    if "--kernels" in sys.argv:
        compile_kernels(1, max(2, (os.cpu_count() or 2) - 4))
        return 0
    card = "CPU (rehearsal)" if REHEARSAL else torch.cuda.get_device_name()
    import triton

    say("card, PyTorch, Triton", [card, torch.__version__, triton.__version__])
    helpers, log = [], OUT / "compile.log"
    if not REHEARSAL:
        GO.unlink(missing_ok=True)
        wants_compiled = "--without-compile" not in sys.argv
        environment = {**os.environ, "OMP_NUM_THREADS": "2"}
        command = [sys.executable, __file__]
        with log.open("w") as stream:
            what = [*command, "--compile"] if wants_compiled else [sys.executable, "-c", ""]
            helpers.append(subprocess.Popen(what, env=environment, stdout=stream, stderr=stream))
        part("kernels", lambda: compile_kernels(0, max(2, (os.cpu_count() or 2) - 2)))
        helpers.append(subprocess.Popen([*command, "--kernels"], env=environment))
    with precision("ieee"):
        data = Recordings()
        say("recordings", data.source)
        for network, norm in (("SpikingCNN", "none"), ("SpikingCNN", "batch"), ("SpikingResNet", "batch")):
            part(f"checks of {network}, norm {norm}", lambda n=network, m=norm: check_layers(data, n, m))
        part("check of TF32", lambda: check_tf32(data))
        part("checks of graphs", lambda: check_graph(data))
        if len(helpers) > 1:
            helpers[1].wait(timeout=max(1.0, left() - 60))
        part("checks of frames", lambda: check_frames(data))
        for steps, batch in SIZES:
            for norm in ("none", "batch"):
                part(
                    f"times, T {steps}, B {batch}",
                    lambda n=norm, s=steps, b=batch: measure(data, "SpikingCNN", n, s, b),
                    15,
                )
            if (steps, batch) == SIZES[0]:
                part("times of SpikingResNet", lambda: measure(data, "SpikingResNet", "batch", T, B), 20)
                if not REHEARSAL:
                    for network, norm in (("SpikingCNN", "none"), ("SpikingCNN", "batch"), ("SpikingResNet", "batch")):
                        part("profile", lambda n=network, m=norm: profile(data, n, m), 20)
    if helpers:
        part("torch.compile", lambda: finish_compiled(helpers[0], log), 5)
    for helper in helpers:
        if helper.poll() is None:
            helper.kill()
    (OUT / "gpu.json").write_text(json.dumps({"card": card, "figures": figures, "times": rows}, indent=1, default=str))
    show(card)
    return 0


if __name__ == "__main__":
    sys.exit(main())
