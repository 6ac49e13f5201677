import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from nasmeta.datasets.base import ImageTable
from nasmeta.datasets.decode import MAX_PIXELS, Preprocessing, decode_all, decode_glyph, decode_image
from nasmeta.datasets.episodes import ImageEpisodeSampler
from nasmeta.errors import DataError
from tests.datasets.pictures import save


def decode(path, channels=3, size=8):
    return decode_image(path, str(path), channels, size)


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


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    Image.fromarray(np.full((9, 9), 257 * 100, dtype=np.uint16)).save(tmp_path / "deep.png")
    assert (decode(tmp_path / "deep.png", 1) == 100).all()


def test_truncated_file_is_named(tmp_path):
    path = save(tmp_path / "photo.jpg", (1, 2, 3), (200, 200))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"photo\.jpg: cannot be read as an image"):
        decode(path)


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n\x00\x00"])
def test_file_that_is_no_image_is_named(tmp_path, content):
    (tmp_path / "notes.png").write_bytes(content)
    with pytest.raises(DataError, match=r"notes\.png: cannot be read as an image"):
        decode(tmp_path / "notes.png")


@pytest.mark.parametrize("side", [8200, 30_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bomb_is_refused_by_its_header(tmp_path, side):
    """A PNG of a few bytes that claims more pixels than anyone photographs."""
    assert side**2 > MAX_PIXELS
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    data = b"IDAT" + zlib.compress(bytes(100))
    chunk += struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    with pytest.raises(DataError, match=r"bomb\.png: .*pixels"):
        decode(tmp_path / "bomb.png")


def test_ink_is_the_rarer_shade(tmp_path):
    pixels = np.full((28, 28), 255, dtype=np.uint8)
    pixels[5:8, 4:20] = 0
    for name, shown in (("scan.png", pixels), ("negative.png", 255 - pixels)):
        Image.fromarray(shown).save(tmp_path / name)
        assert (decode_glyph(tmp_path / name, name, 28)[..., 0] == 255 - pixels).all()


def test_items_keep_their_order_and_every_failure_is_named():
    def pixels(item):
        if item in (500, 731) or item > 980:
            raise DataError(f"item {item}")
        return np.full((2, 2, 1), item % 256, dtype=np.uint8)

    table = decode_all(range(300), pixels, (2, 2, 1), 300)
    assert table.shape == (300, 1, 2, 2)
    assert table[:, 0, 1, 1].tolist() == [item % 256 for item in range(300)]
    with pytest.raises(DataError, match=r"^item 500; item 731; item 981; .*; item 988; and 11 more$"):
        decode_all(range(1000), pixels, (2, 2, 1), 1000)


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
    with pytest.raises(DataError, match=r"x\.png: cannot be read as an image"):
        decode_image(tmp_path / "x.png", "x.png", 3, 8)
