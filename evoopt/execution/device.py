"""A CUDA device that has failed computes nothing more in its process, whatever is asked of it."""

from __future__ import annotations

import sys

from evoopt.errors import EvooptError, one_line

EXIT_CODE = 98
"""Of a worker process that has ended for this reason."""


class DeviceFailedError(EvooptError):
    """A CUDA device failed; another process may use it again."""


def raise_if_failed(error: Exception) -> None:
    """Look whether an exception has left its process without a working CUDA device.

    A kernel's fault (an illegal address, say) is reported by every later call, so that all that follows would
    look like failures of its own. A device that only has no memory left is well.

    Raises:
        DeviceFailedError: It has.
    """
    torch = sys.modules.get("torch")
    if isinstance(error, DeviceFailedError):
        raise error
    if torch is None or not torch.cuda.is_initialized() or isinstance(error, torch.OutOfMemoryError):
        return
    try:
        for device in range(torch.cuda.device_count()):
            if torch.cuda.memory_allocated(device):
                torch.cuda.synchronize(device)
    except RuntimeError as failure:
        raise DeviceFailedError(
            f"the CUDA device has failed and this process cannot use it any more: {one_line(failure)}; what "
            "is finished is kept: go on with `evoopt resume` and the run's folder"
        ) from error
