import sys

import pytest

from nasmeta.allocator import keep_pages


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
def test_pages_stay_with_the_process() -> None:
    """Large blocks freed and taken again cost page faults the first time only."""
    import subprocess

    script = (
        "import resource, sys\nfrom nasmeta.allocator import keep_pages\n"
        "print(keep_pages() if sys.argv[1] == 'keep' else False)\n"
        "for _ in range(3): [bytearray(2**24) for _ in range(8)]\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(10): [bytearray(2**24) for _ in range(8)]\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"
    )

    def faults(mode: str) -> tuple[str, int]:
        done = subprocess.run(
            [sys.executable, "-c", script, mode], capture_output=True, text=True, check=True
        )
        kept, count = done.stdout.split()
        return kept, int(count)

    kept, count = faults("keep")
    if kept == "False":
        pytest.skip("this Linux has another C library, or the environment chose its own allocator")
    assert count < faults("leave")[1] / 10
