"""Which devices a run uses, and how several processes work on the same run."""

from __future__ import annotations

import contextlib
import os
import platform
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh

import gemjax
from gemjax.cli.files.boundary import InputError, brief, shown
from gemjax.cli.files.number import integer, is_count

_PLATFORMS = ("cpu", "gpu", "tpu")
_WORTH_SPREADING = 2**19  # densities per device: half a millisecond of work between two sums
_MOST_DEVICES = 4096  # of one process; a CPU has as many as it is asked for


def join() -> None:
    """Makes this process one of several that share a run.

    Slurm, Open MPI, Kubernetes and TPU pods say by themselves who is who; elsewhere
    JAX_COORDINATOR_ADDRESS (host:port of the first), JAX_NUM_PROCESSES and JAX_PROCESS_ID do.
    """
    numbers = [_from_environment(name) for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")]
    try:
        num_processes, process_id = numbers
        jax.distributed.initialize(num_processes=num_processes, process_id=process_id)
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--distributed: {reason} Start one process per host or GPU with srun or mpirun, or "
            "set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID"
        ) from None


def _from_environment(name: str) -> int | None:
    """A whole number that a variable holds, if it is set."""
    text = os.environ.get(name)
    value = None if text is None else integer(text)
    if text is not None and value is None:
        raise InputError(f"--distributed: {name} must be an integer, got {shown(text)}")
    return value


def choose(request: str | None) -> list[jax.Device]:
    """The devices that `--devices` asks for: a count, a platform, or both ("gpu:4"); all of them
    by default, where a CPU has one per core. A count is per process.

    Raises:
      InputError: a platform that JAX does not have here, or fewer devices than asked for.
    """
    wanted, count = _parse(request)
    # Set by the user, or by a program around this one.
    already = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]
    with contextlib.suppress(RuntimeError):  # JAX has started: what it has is what there is
        if wanted == "cpu":
            jax.config.update("jax_platforms", "cpu")
        if already < (count or (_cores() if already < 1 else 0)):
            jax.config.update("jax_num_cpu_devices", count or _cores())
    try:
        devices = jax.devices(wanted)
    except RuntimeError:
        raise InputError(
            f"--devices {request}: JAX finds no {wanted} here, only {jax.default_backend()}; "
            "install the jax that has it (see JAX's installation guide), or leave --devices out"
        ) from None
    chosen = []
    for process in range(jax.process_count()):
        local = [device for device in devices if device.process_index == process]
        if count is not None and len(local) < count:
            raise InputError(
                f"--devices {request}: there are {len(local)} {local[0].platform} devices, "
                f"fewer than {count}"
            )
        chosen += local[:count]
    return chosen


def _cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _parse(request: str | None) -> tuple[str | None, int | None]:
    if request is None:
        return None, None
    wanted, _, count = request.partition(":")
    if is_count(wanted) and not count:
        wanted, count = "", wanted
    good = wanted in (*_PLATFORMS, "") and (is_count(count) or not count)
    if not good or not (wanted or count) or (count and not 1 <= int(count) <= _MOST_DEVICES):
        raise InputError(
            f"--devices {brief(request, 60)}: must be a count, one of {', '.join(_PLATFORMS)}, or "
            "both as in gpu:4"
        )
    return wanted or None, int(count) if count else None


def mesh(devices: list[jax.Device], num_seeds: int, *, spread_points: bool = True) -> Mesh | None:
    """Seeds first: the points are spread only where there are fewer seeds than devices.

    Where they cannot be spread (a file on disk), devices without a seed repeat the last one's. None
    stands for one device.
    """
    D = len(devices)
    if D == 1:
        return None
    along_seeds = D
    if spread_points:
        along_seeds = max(s for s in range(1, D + 1) if D % s == 0 and s <= num_seeds)
    shape = (along_seeds, D // along_seeds)
    return Mesh(np.array(devices).reshape(shape), ("seed", "data"), axis_types=(AxisType.Auto,) * 2)


def data_mesh(devices: list[jax.Device], densities: int) -> Mesh | None:
    """The points of one fit over all devices, where there are enough (points times components)."""
    if len(devices) == 1 or densities < _WORTH_SPREADING * len(devices):
        return None
    return Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))


def provenance() -> dict[str, Any]:
    """Where and with what a result is computed."""
    device = jax.devices()[0]
    return {
        "gemjax": gemjax.__version__,
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "device": f"{device.platform}: {device.device_kind}",
        "num_devices": jax.device_count(),
    }


def is_first() -> bool:
    """True in the one process that writes files and prints."""
    return jax.process_index() == 0


def from_first(values: np.ndarray) -> np.ndarray:
    """What the first process has, in all of them."""
    return values if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(values)


def in_any(flag: bool) -> bool:
    """True in all processes if it is in one."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))
