"""An allocator that keeps its pages.

glibc gives every large temporary back to the system and takes fresh, zeroed pages for the next: training a
small network then spends a quarter of its time in page faults. Three settings keep the memory; one heap for
all threads is the third, since the heaps of further threads are cut small and given back. Measured with
4-conv-64 and ProtoNet on two cores: 1.27 times the tasks a second that raised thresholds alone give, since
a meta-batch's feature maps are larger than the largest threshold glibc takes.
"""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
KEEP = 2**30
"""Bytes of free memory at the top of the heap that are kept."""


def keep_pages() -> bool:
    """Takes every block of this process from the heap, and keeps the heap's free top.

    False, and nothing changed, where it is not glibc, or the user chose otherwise.
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
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: KEEP, M_ARENA_MAX: 1}
    return all(libc.mallopt(name, value) for name, value in settings.items())
