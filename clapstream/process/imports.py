"""Makes the import of heavy packages faster: `import torch` is two thirds of the time to the first score."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator, MutableMapping

DISABLED_SEARCHES = {
    "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",  # for devices other than torch's own
    "PYDANTIC_DISABLE_PLUGINS": "1",
}
"""Variables that keep torch and pydantic from searching every installed package for plugins."""


@contextlib.contextmanager
def fast_imports(environment: MutableMapping[str, str] = os.environ) -> Iterator[None]:
    """Import heavy packages inside this context; variables that the user has set are kept.

    The imports create a quarter of a million objects that are never freed. Scanning them takes a tenth of the time
    and later pauses the whole process, so the garbage collector is made to ignore them.
    """
    for name, value in DISABLED_SEARCHES.items():
        environment.setdefault(name, value)
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
