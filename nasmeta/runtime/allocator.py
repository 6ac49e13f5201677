"""An allocator that keeps its pages.

glibc gives every large temporary back to the system and takes fresh, zeroed pages for the next: training a
small network then spends a quarter of its time in page faults. Blocks are therefore taken from the heap and
the heap is kept. There is one heap a core: the threads that tasks are computed in take memory for every
operation, and wait for each other at the lock of a single heap (three times the context switches; with
4-conv-32 on two cores 1.25 times the tasks a second in MAML's evaluation, 1.3 in Reptile, means of four
interleaved runs; nothing beyond noise in ProtoNet and MAML of 64 filters). glibc gives the heaps of further
threads back however large the trim threshold is, unless the padding is as large as they can be.
"""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
KEEP = 2**30
"""Bytes of free memory at the top of the heap that are kept."""
THREAD_HEAP = 2**26
"""Bytes that glibc reserves for a further thread's heap, on 64-bit machines."""


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
    settings = {
        M_MMAP_MAX: 0,
        M_TRIM_THRESHOLD: KEEP,
        M_TOP_PAD: THREAD_HEAP,
        M_ARENA_MAX: len(os.sched_getaffinity(0)),
    }
    return all(libc.mallopt(name, value) for name, value in settings.items())
