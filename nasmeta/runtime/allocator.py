"""Settings that make glibc's allocator keep its pages.

By default, glibc returns every large temporary block to the system and takes fresh, zeroed pages for the
next one. Training a small network then spends a quarter of its time in page faults. With the settings here,
blocks come from the heap, and the heap is kept.

There is one heap per core. The threads that compute tasks allocate memory for every operation, and with a
single heap they wait for each other at its lock, with three times the context switches. Measured with
4-conv-32 on two cores, as means of four interleaved runs: one heap per core gives 1.25 times the tasks a
second in MAML's evaluation and 1.3 times in Reptile. With 64 filters, ProtoNet and MAML gain nothing beyond
noise.

glibc returns the heaps of further threads to the system whatever the trim threshold is, unless the padding
is as large as such a heap can be.
"""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
KEEP = 2**30
"""How many bytes of free memory at the top of the heap are kept."""
THREAD_HEAP = 2**26
"""Bytes that glibc reserves for a further thread's heap, on 64-bit machines."""


def keep_pages() -> bool:
    """Makes this process take every block from the heap and keep the heap's free top.

    Returns False and changes nothing if the C library is not glibc, or if the user has configured an
    allocator: with a malloc setting in GLIBC_TUNABLES, with MALLOC_TRIM_THRESHOLD_ or
    MALLOC_MMAP_THRESHOLD_, or with another allocator in LD_PRELOAD.
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
