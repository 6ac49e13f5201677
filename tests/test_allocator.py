import subprocess
import sys

import pytest

from nasmeta.runtime.allocator import keep_pages


@pytest.mark.parametrize(
    "name,value",
    [
        ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=131072"),
        ("MALLOC_TRIM_THRESHOLD_", "131072"),
        ("LD_PRELOAD", "/usr/lib/libjemalloc.so"),
    ],
)
def test_a_users_own_choice_is_left_alone(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert keep_pages() is False


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
@pytest.mark.parametrize("where", ["main", "thread"])
def test_pages_stay_with_the_process(where: str) -> None:
    """Large blocks freed and taken again cost page faults the first time only, in any thread."""
    script = """
import resource, sys, threading
from nasmeta.runtime.allocator import keep_pages
print(keep_pages() if sys.argv[1] == "keep" else False)

def faults():
    for _ in range(3): [bytearray(2**24) for _ in range(8)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10): [bytearray(2**24) for _ in range(8)]
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

if sys.argv[2] == "main":
    faults()
else:
    thread = threading.Thread(target=faults)
    thread.start()
    thread.join()
"""

    def faults(mode: str) -> tuple[str, int]:
        command = [sys.executable, "-c", script, mode, where]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        kept, count = done.stdout.split()
        return kept, int(count)

    kept, count = faults("keep")
    if kept == "False":
        pytest.skip("this Linux has another C library, or the environment chose its own allocator")
    assert count < faults("leave")[1] / 10
