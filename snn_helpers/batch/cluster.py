"""The same runs on `dask.distributed`: worker processes here, on a given scheduler, or jobs of a batch system."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from uuid import uuid4

from snn_helpers.batch.attempts import Attempt, lost_attempt, make_attempt

PATIENCE = "20s"
LOSSES = 3
"""Workers that a run may lose before it counts as the cause."""
_LOOK_MS = 5_000  # between two looks whether all workers of this machine are there


class DaskPool:
    """Workers of a dask cluster, one run each.

    The sweep's folder must be on a disk that all workers share. A run whose worker is lost goes to another one.

    Parameters
    ----------
    jobs : int
        Workers to ask for; not used with `address`.
    address : str or None
        Of a running scheduler, such as "tcp://10.0.0.5:8786"; its workers must have been started with one thread each.
    kind : str
        "local", or one of dask-jobqueue's: "slurm", "pbs", "sge", "lsf", "htcondor", "oar", "moab".
    options : dict
        For the cluster of that kind, such as {"queue": "gpu", "walltime": "02:00:00", "memory": "8GB"}.
    gpus : int
        With "local": GPUs of this machine, one a worker.

    Raises
    ------
    ImportError
        If dask is not installed.
    ValueError
        If the scheduler cannot be reached, its workers have more than one thread, or the kind is unknown.
    """

    def __init__(self, jobs: int, address: str | None = None, kind: str = "local", options=None, gpus: int = 0):
        try:
            from distributed import Client
        except ImportError as err:
            raise ImportError("A cluster needs dask. Run `pip install 'snn_helpers[cluster]'`.") from err
        self._cluster = None if address else make_cluster(kind, jobs, options or {})
        self._keeper = _keep_workers(self._cluster, jobs) if self._cluster and kind == "local" else None
        self._gpus = gpus
        try:
            self._client = Client(address or self._cluster, timeout=PATIENCE, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as err:
            raise ValueError(f"`--scheduler`: no dask scheduler answers at {address}. Is it running?") from err
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        crowded = [worker["name"] for worker in workers if worker["nthreads"] > 1]
        if crowded:
            self.__exit__()
            raise ValueError(
                f"`--scheduler`: worker {crowded[0]} has several threads, so that runs would fight for its cores. "
                "Start workers with `dask worker ADDRESS --nthreads 1 --nworkers N`."
            )
        self.width = max(jobs, len(workers))

    def __enter__(self) -> DaskPool:
        return self

    def __exit__(self, *_) -> None:
        if self._keeper is not None:
            self._cluster.loop.add_callback(self._keeper.stop)
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    def rows(self, attempts: Iterable[Attempt]) -> Iterator[dict[str, Any]]:
        """Make attempts on the workers and yield their rows as they come."""
        suspects: list[Attempt] = []
        yield from self._pass(list(attempts), suspects.append)
        # A lost worker takes those with it that were waiting for it. Alone, only the guilty one is blamed.
        for suspect in suspects:
            guilty: list[Attempt] = []
            yield from self._pass([suspect], guilty.append)
            for attempt in guilty:
                yield lost_attempt(attempt, f"its worker was lost {LOSSES + 1} times, also when it ran alone")

    def _pass(self, attempts: list[Attempt], suspect: Callable[[Attempt], object]) -> Iterator[dict[str, Any]]:
        """Make attempts; hand those to `suspect` that had their worker lost too often."""
        from distributed import as_completed
        from distributed.scheduler import KilledWorker

        # Not pure: equal calls are still one attempt each. The key tells a run in dask's own dashboard.
        keys = [f"run-{attempt.id}-{attempt.attempt}-{uuid4().hex}" for attempt in attempts]
        futures = self._client.map(_on_worker, attempts, [self._gpus] * len(attempts), key=keys, pure=False)
        waiting = {future.key: attempt for future, attempt in zip(futures, attempts)}
        for future in as_completed(futures, loop=self._client.loop):
            attempt = waiting.pop(future.key)
            try:
                yield future.result()
            except KilledWorker:
                suspect(attempt)
            future.release()


def _keep_workers(cluster, jobs: int):
    """Ask a cluster of this machine for its workers again and again; return what does so.

    dask starts a lost worker anew, but gives it up where it dies while it starts, or needs longer to come back than
    `distributed.deploy.lost-worker-timeout`, as on a busy machine: a sweep would wait for ever.
    """
    from tornado.ioloop import PeriodicCallback

    keeper = PeriodicCallback(lambda: cluster.scale(jobs), _LOOK_MS)
    cluster.loop.add_callback(keeper.start)
    return keeper


def _on_worker(attempt: Attempt, gpus: int) -> dict[str, Any]:
    from distributed import get_worker

    place = int(get_worker().name) if gpus else None  # a LocalCluster numbers its workers
    return make_attempt(attempt, gpu=place)


def make_cluster(kind: str, jobs: int, options: Mapping[str, Any]):
    """Return a dask cluster of `jobs` workers with one thread each; see `DaskPool`."""
    import dask

    dask.config.set({"distributed.scheduler.allowed-failures": LOSSES})
    if kind == "local":
        from distributed import LocalCluster

        # Any free port: two sweeps may run side by side.
        asked = {"n_workers": jobs, "threads_per_worker": 1, "processes": True, "dashboard_address": "127.0.0.1:0"}
        # A worker does nothing but wait for its run; what the run needs is none of its memory.
        return LocalCluster(**{**asked, "memory_limit": 0, **options})
    try:
        import dask_jobqueue
    except ImportError as err:
        raise ImportError("Batch systems need dask-jobqueue. Run `pip install 'snn_helpers[cluster]'`.") from err
    kinds = {name[: -len("Cluster")].lower(): name for name in vars(dask_jobqueue) if name.endswith("Cluster")}
    kinds.pop("jobqueue", None), kinds.pop("local", None)
    if kind not in kinds:
        raise ValueError(f"`--cluster` must be one of 'local', {', '.join(map(repr, sorted(kinds)))}; got {kind!r}.")
    # `cores` is what the batch system reserves for the run's own threads; the worker itself has one.
    # Workers of other machines reach the scheduler; the dashboard, which asks nobody who they are, is for this one.
    asked = {"cores": 1, "processes": 1, "memory": "4GB", "scheduler_options": {"dashboard_address": "127.0.0.1:0"}}
    asked |= options
    asked["worker_extra_args"] = [*asked.get("worker_extra_args", []), "--nthreads", "1"]
    cluster = getattr(dask_jobqueue, kinds[kind])(**asked)
    cluster.scale(jobs=jobs)
    return cluster
