"""Brings in heavy packages in less time: `import torch` is two thirds of the way to the first score.

Only what the packages offer for it, and Python itself; nothing of theirs is left out or changed.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator, MutableMapping

DISABLED_SEARCHES = {
    "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",  # searches every installed package for devices other than torch's own
    "PYDANTIC_DISABLE_PLUGINS": "1",  # searches every installed package too
}


@contextlib.contextmanager
def fast_imports(environment: MutableMapping[str, str] = os.environ) -> Iterator[None]:
    """Import heavy packages in here; what the user has set stays.

    They make a quarter of a million objects that stay for good. The garbage collector would look at them again
    and again: a tenth of the time while they are made, and later in pauses of everything else.
    """
    for name, value in DISABLED_SEARCHES.items():
        environment.setdefault(name, value)
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
