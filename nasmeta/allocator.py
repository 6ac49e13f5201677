"""An allocator that keeps its pages.

glibc gives every large temporary back to the system and takes fresh, zeroed pages for the next: training a
small network then spends a third of its time in page faults. Raising two thresholds keeps the memory.
"""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEEP = 2**30
"""Bytes of free memory at the top of the heap that are kept."""

LARGEST_MMAP_THRESHOLD = 2**25
"""The most that glibc takes on 64 bits: larger blocks are always mapped."""


def keep_pages() -> bool:
    """Sets the thresholds of this process; False where it is not glibc, or the user chose otherwise.

    A choice is GLIBC_TUNABLES with a malloc setting, MALLOC_TRIM_THRESHOLD_, MALLOC_MMAP_THRESHOLD_, or
    another allocator in LD_PRELOAD.
    """
    chosen = "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    chosen |= any(name in os.environ for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"))
    chosen |= "malloc" in os.environ.get("LD_PRELOAD", "")
    if chosen or sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    return bool(
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD) and libc.mallopt(M_TRIM_THRESHOLD, KEEP)
    )
