"""The environment variables that libraries read once, when they are first imported.

``import tsirius`` sets them, so that they hold for the command line and for a program that uses the package. It imports
next to nothing, as Ctrl-C is handled only afterwards.
"""

from __future__ import annotations

import os
import sys

SETTINGS = {
    # A thread that waits by spinning takes the core from the one it waits for, where others are at work as well.
    "OMP_WAIT_POLICY": ("PASSIVE", "torch"),
    # oneDNN compiles its work for each shape of a batch, and would keep 1,024 of those: 100 MB that hardly serve again.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": ("64", "torch"),
    # Nothing is sent anywhere.
    "HF_HUB_DISABLE_TELEMETRY": ("1", "huggingface_hub"),
    # The tokenizers' threads do not survive a fork, and warn about it at length.
    "TOKENIZERS_PARALLELISM": ("false", "tokenizers"),
}
"""Variable → its value, and the library that reads it."""


def prepare() -> None:
    """Set each variable that the user has not set and whose library has not been imported yet."""
    for name, (value, library) in SETTINGS.items():
        if library not in sys.modules:
            os.environ.setdefault(name, value)
