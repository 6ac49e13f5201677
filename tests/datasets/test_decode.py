import io
import struct
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from nasmeta.datasets import decode as decode_module
from nasmeta.datasets.base import ImageTable
from nasmeta.datasets.decode import (
    MAX_PIXELS,
    ImageReader,
    Preprocessing,
    Unreadable,
)
from nasmeta.datasets.episodes import ImageEpisodeSampler
from nasmeta.datasets.pixel_budget import PixelBudget
from nasmeta.errors import DataError
from tests.datasets.pictures import save


def decode(path, channels=3, size=8):
    return ImageReader(channels, size, glyph=False).read_one(path, str(path))


def test_longer_side_is_cropped_to_its_centre(tmp_path):
    pixels = np.zeros((10, 30, 3), dtype=np.uint8)
    pixels[:, 10:20] = (200, 50, 10)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert (decode(tmp_path / "wide.png", size=10) == (200, 50, 10)).all()
    Image.fromarray(pixels.transpose(1, 0, 2)).save(tmp_path / "tall.png")
    assert (decode(tmp_path / "tall.png", size=10) == (200, 50, 10)).all()


@pytest.mark.parametrize("extension", ["png", "bmp", "gif", "tiff", "webp", "jpg"])
def test_formats_and_channels(tmp_path, extension):
    path = save(tmp_path / f"one.{extension}", (120, 120, 120), (30, 20))
    for channels in (1, 3):
        pixels = decode(path, channels)
        assert pixels.shape == (8, 8, channels)
        assert pixels.dtype == np.uint8
        assert np.abs(pixels.astype(int) - 120).max() <= 2


def test_exif_orientation_is_obeyed(tmp_path):
    pixels = np.zeros((20, 20), dtype=np.uint8)
    pixels[:10] = 255  # the upper half is light
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    assert decode(tmp_path / "turned.png", 1)[1].max() < 20
    assert decode(tmp_path / "turned.png", 1)[-2].min() > 235


def test_transparent_is_white(tmp_path):
    Image.new("RGBA", (9, 9), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (decode(tmp_path / "clear.png") == 255).all()


def ramp(path, values, size=64):
    """An image of these values, 64 x 64 of them, and what is read of it."""
    Image.fromarray(np.resize(values, (size, size))).save(path)
    return decode(path, 1, size)[..., 0]


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("extension", ["png", "tiff"])
def test_deep_grey_keeps_its_brightness_and_its_levels(tmp_path, bits, extension):
    white = 2**bits - 1
    values = np.round(np.linspace(0, white, 64 * 64)).astype(np.uint16)
    pixels = ramp(tmp_path / f"deep.{extension}", values)
    assert np.array_equal(pixels.ravel(), np.round(values / white * 255))
    assert len(np.unique(pixels)) == 256


def test_whole_numbers_of_32_bits(tmp_path):
    values = np.arange(64 * 64, dtype=np.int32)
    pixels = ramp(tmp_path / "whole.tiff", values)
    assert np.array_equal(pixels.ravel(), np.round(values / 4095 * 255))


def test_floating_point_images_are_fractions(tmp_path):
    values = np.linspace(0, 1, 64 * 64, dtype=np.float32)
    pixels = ramp(tmp_path / "fractions.tiff", values)
    assert np.array_equal(pixels.ravel(), np.round(values.astype(np.float64) * 255))


@pytest.mark.parametrize(
    "values, problem",
    [
        (np.linspace(-1, 1, 4096, dtype=np.float32), "-1 to 1; .* 0 to 1"),
        (np.linspace(0, 255, 4096, dtype=np.float32), "0 to 255; .* 0 to 1"),
        (np.array([0, np.nan], dtype=np.float32), "nan"),
        (np.linspace(0.5, 0.501, 4096, dtype=np.float32), "0.5 to 0.501, "),
        (np.arange(-5, 5, dtype=np.int32), "-5 to 4; .* 0 to 65535"),
        (np.array([0, 65536], dtype=np.int32), "0 to 65536; .* 0 to 65535"),
        (np.array([59900, 59910], dtype=np.uint16), "59900 to 59910, "),
    ],
)
def test_values_that_the_rule_does_not_cover_are_named(tmp_path, values, problem):
    with pytest.raises(DataError, match=rf"strange\.tiff: .*{problem}"):
        ramp(tmp_path / "strange.tiff", values)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(path, bits, colour, rows, transparent=b""):
    """A PNG written by hand: each row is the bytes of its pixels."""
    width = 8 * len(rows[0]) // (bits * {0: 1, 2: 3, 4: 2}[colour])
    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    trns = chunk(b"tRNS", transparent) if transparent else b""
    end = chunk(b"IDAT", data) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + trns + end)
    return path


def test_a_transparent_value_of_deep_grey_is_white(tmp_path):
    row = np.array([0, 300, 301, 65535], dtype=">u2").tobytes()
    path = png(tmp_path / "keyed.png", 16, 0, [row] * 4, struct.pack(">H", 300))
    assert decode(path, 1, 4)[0, :, 0].tolist() == [0, 255, 1, 255]


@pytest.mark.parametrize("bits, row, key", [(2, 0b00011011, 2), (4, 0x25, 2), (8, 2, 2)])
def test_a_transparent_value_of_shallow_grey_is_white(tmp_path, bits, row, key):
    path = png(tmp_path / "keyed.png", bits, 0, [bytes([row])] * (8 // bits), struct.pack(">H", key))
    values = [row >> shift & (2**bits - 1) for shift in range(8 - bits, -1, -bits)]
    expected = [255 if value == key else value * 255 // (2**bits - 1) for value in values]
    assert decode(path, 1, 8 // bits)[0, :, 0].tolist() == expected


def test_deep_colour(tmp_path):
    full = np.array([0, 0, 0, 65535, 32768, 256], dtype=">u2").tobytes()
    assert decode(png(tmp_path / "full.png", 16, 2, [full] * 2), 3, 2)[0].tolist() == [
        [0, 0, 0],
        [255, 128, 1],
    ]
    dark = np.array([0, 0, 0, 4095, 1000, 10], dtype=">u2").tobytes()
    with pytest.raises(DataError, match=r"dark\.png: .*12 .*16 .*8 bits a channel"):
        decode(png(tmp_path / "dark.png", 16, 2, [dark] * 2), 3, 2)
    with pytest.raises(DataError, match=r"keyed\.png: .*8 bits a channel"):
        decode(png(tmp_path / "keyed.png", 16, 2, [full] * 2, bytes(6)), 3, 2)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_tiffs_in_which_zero_is_white(tmp_path, dtype):
    """Pillow inverts those of 8 bits only."""
    white = 1 if dtype == "float32" else np.iinfo(dtype).max
    values = np.linspace(0, white, 256).round(5).astype(dtype).reshape(16, 16)
    image = Image.fromarray(values)
    image.save(tmp_path / "x.tiff", tiffinfo={262: 0})
    assert Image.open(tmp_path / "x.tiff").tag_v2[262] == 0
    ascending = decode(tmp_path / "x.tiff", 1, 16)[..., 0].ravel().astype(int)
    assert ascending[0] == 255
    assert ascending[-1] == 0


def test_what_is_white_on_nothing_is_seen(tmp_path):
    image = Image.new("RGBA", (8, 8), (255, 255, 255, 0))
    image.paste((255, 255, 255, 255), (0, 0, 8, 4))
    image.save(tmp_path / "logo.png")
    assert decode(tmp_path / "logo.png", 1)[..., 0].tolist() == [[255] * 8] * 4 + [[0] * 8] * 4
    half = Image.new("RGBA", (8, 8), (200, 0, 0, 255))
    half.paste((0, 0, 0, 0), (0, 0, 8, 4))
    half.save(tmp_path / "half.png")
    assert (decode(tmp_path / "half.png")[:4] == 255).all()


def test_an_image_of_one_colour_is_said(tmp_path, caplog):
    paths = [save(tmp_path / "blank.png", 7)]
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "full.png")
    paths.append(tmp_path / "full.png")
    ImageReader(1, 8, glyph=False).read(paths)
    (line,) = caplog.messages
    assert line.startswith("1 of 2 ")
    assert line.endswith(f": {paths[0]}")


def test_truncated_file_is_named(tmp_path):
    path = save(tmp_path / "photo.jpg", (1, 2, 3), (200, 200))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"photo\.jpg: "):
        decode(path)


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n\x00\x00"])
def test_file_that_is_no_image_is_named(tmp_path, content):
    (tmp_path / "notes.png").write_bytes(content)
    with pytest.raises(DataError, match=r"^[^<>]*notes\.png: [^<>]*$"):
        decode(tmp_path / "notes.png")


@pytest.mark.parametrize("side", [8200, 30_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bomb_is_refused_by_its_header(tmp_path, side):
    """A PNG of a few bytes that claims more pixels than anyone photographs."""
    assert side**2 > MAX_PIXELS
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(bytes(100)))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + data)
    with pytest.raises(DataError, match=r"bomb\.png: .*pixels"):
        decode(tmp_path / "bomb.png")


def test_ink_is_the_rarer_shade(tmp_path):
    pixels = np.full((28, 28), 255, dtype=np.uint8)
    pixels[5:8, 4:20] = 0
    for name, shown in (("scan.png", pixels), ("negative.png", 255 - pixels)):
        Image.fromarray(shown).save(tmp_path / name)
        read = ImageReader(1, 28, glyph=True).read_one(tmp_path / name, name)
        assert (read[..., 0] == 255 - pixels).all()


def test_images_keep_their_order_and_every_failure_is_named():
    def picture(number):
        if number in (500, 731) or number > 980:
            return io.BytesIO(b"no image")
        return Image.new("L", (2, 2), number % 256)

    reader, names = ImageReader(1, 2, glyph=False), [f"item {number}" for number in range(1000)]
    table = reader.read([picture(number) for number in range(300)], names[:300])
    assert table.shape == (300, 1, 2, 2)
    assert table[:, 0, 1, 1].tolist() == [number % 256 for number in range(300)]
    with pytest.raises(Unreadable, match=r"^item 500: .*; item 731: ") as raised:
        reader.read([picture(number) for number in range(1000)], names)
    assert list(raised.value.reasons) == [500, 731, *range(981, 1000)]
    assert all(text.startswith(f"item {number}: ") for number, text in raised.value.reasons.items())
    assert [text.split(":")[0] for text in str(raised.value).split("; item ")][-1] == "988"
    assert str(raised.value).endswith(" and 11 more")


def test_prediction_normalizes_as_episodes_do():
    images = torch.arange(2 * 3 * 16, dtype=torch.uint8).view(2, 3, 4, 4)
    mean, std = (0.1, 0.5, 0.2), (0.3, 0.25, 0.5)
    table = ImageTable(images, torch.tensor([2]), ("only",))
    sampler = ImageEpisodeSampler(table, way=1, shot=1, query=1, seed=0, split="test", mean=mean, std=std)
    batch = sampler.batch(0, 1)
    expected = Preprocessing(channels=3, size=4, glyph=False, mean=mean, std=std).normalize(images)
    drawn = torch.stack([batch.support_x[0, 0], batch.query_x[0, 0]])
    order = drawn[:, 0, 0, 0].argsort()
    assert torch.equal(drawn[order], expected)


def test_formats_that_would_run_a_program_are_no_images(tmp_path):
    """Pillow hands PostScript to Ghostscript, whatever the file is called."""
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    with pytest.raises(DataError, match=r"x\.png: "):
        decode(tmp_path / "x.png")


def test_threads_share_one_budget_of_pixels(tmp_path, monkeypatch):
    """However many threads there are, they have at most so many pixels at a time, and as many as that."""
    paths = [save(tmp_path / f"{n}.png", n, (10, 10)) for n in range(24)]
    spent, most, lock = 0, 0, threading.Lock()
    convert = decode_module._convert

    def watched(image, mode):
        nonlocal spent, most
        with lock:
            spent += image.width * image.height
            most = max(most, spent)
        time.sleep(0.005)
        converted = convert(image, mode)
        with lock:
            spent -= image.width * image.height
        return converted

    monkeypatch.setattr(decode_module, "_convert", watched)
    monkeypatch.setattr(decode_module, "_budget", PixelBudget(250))
    monkeypatch.setattr(decode_module.os, "cpu_count", lambda: 8)
    table = ImageReader(1, 8, glyph=False).read(paths)
    assert table[:, 0, 4, 4].tolist() == list(range(24))
    assert most == 200


def test_what_exceeds_the_budget_waits_for_all_of_it():
    budget = PixelBudget(10)
    with budget.spend(100), pytest.raises(ValueError, match="inside"), PixelBudget(10).spend(3):
        raise ValueError("inside")
    with budget.spend(10):
        pass


def test_large_images_in_several_threads_stay_within_the_promise(tmp_path):
    """16-bit images that are small as files, and took 24 bytes a pixel in every thread."""
    path = png(tmp_path / "large.png", 16, 0, [bytes(2 * 2048)] * 2047 + [b"\xff" * 2 * 2048])
    assert path.stat().st_size < 100_000
    script = (
        "import os, resource, sys; os.cpu_count = lambda: 4\n"
        "from pathlib import Path\n"
        "from nasmeta.datasets import decode\n"
        "decode._budget = decode.PixelBudget(2048**2)\n"
        "peak = lambda: 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "decode.ImageReader(1, 8, glyph=False).read([Path(sys.argv[1])] * 4)\n"
        "print(peak() - before)"
    )
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20 * 2048**2
