import hashlib
import io
from urllib.error import URLError

import pytest

from nasmeta.datasets import download, omniglot
from nasmeta.datasets.download import Published
from nasmeta.datasets.omniglot import ARCHIVES, Omniglot
from nasmeta.errors import DataError
from tests.datasets.pictures import archive

CONTENT = b"0123456789" * 300_000  # more than one block
FILE = Published("data.zip", "https://example.org/data.zip", "md5", hashlib.md5(CONTENT).hexdigest())


@pytest.fixture
def server(monkeypatch):
    """{url: content or the error to raise}, in place of the network; `requests` lists what was asked for."""
    contents, requests = {}, []

    def urlopen(url, timeout):
        requests.append(url)
        if isinstance(contents[url], Exception):
            raise contents[url]
        response = io.BytesIO(contents[url])
        response.url = contents.get("leads to", url)
        return response

    monkeypatch.setattr(download, "urlopen", urlopen)
    contents["requests"] = requests
    return contents


def test_file_arrives_whole(server, tmp_path):
    server[FILE.url] = CONTENT
    path = FILE.download(tmp_path / "new")
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]
    FILE.verify(path)


def test_other_content_is_refused_and_leaves_nothing(server, tmp_path):
    server[FILE.url] = CONTENT[:-1]
    with pytest.raises(DataError, match=rf"https://example.org/data.zip: .* {FILE.digest}"):
        FILE.download(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_endless_answer_is_refused(server, tmp_path):
    server[FILE.url] = CONTENT
    short = Published(FILE.name, FILE.url, "md5", FILE.digest, max_bytes=2_000_000)
    with pytest.raises(DataError, match=r"https://example\.org/data\.zip: .* 2000000 bytes"):
        short.download(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_network_says_what_to_do_by_hand(server, tmp_path):
    server[FILE.url] = URLError("no route to host")
    with pytest.raises(DataError, match=r"data\.zip: .*no route.* https://example\.org/data\.zip"):
        FILE.download(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"data\.zip: .*/file/under"):
        FILE.download(tmp_path / "file" / "under")
    assert server["requests"] == []


def test_omniglot_fetches_only_what_it_lacks(server, tmp_path, monkeypatch):
    first = {"Balinese": 1, "Early_Aramaic": 1, "Greek": 1, "Latin": 1, "Korean": 1}
    second = {"Japanese_(katakana)": 1, "Sanskrit": 1, "Tagalog": 1}
    published = (
        archive(tmp_path / "images_background_small1.zip", first),
        archive(tmp_path / "images_background_small2.zip", second),
    )
    monkeypatch.setitem(omniglot.ARCHIVES, "small", published)
    there = tmp_path / published[1].name
    server[published[1].url] = there.read_bytes()
    there.unlink()
    options = {"variant": "small", "size": 28, "rotations": False, "cache": None}
    dataset = Omniglot(root=str(tmp_path), download=True, **options)
    assert server["requests"] == []  # constructing is cheap
    assert dataset.num_classes("test") == 2
    assert len(dataset.table("train").images) == 5 * 2
    assert server["requests"] == [published[1].url]


def test_official_addresses_are_https():
    for archives in ARCHIVES.values():
        for published in archives:
            assert published.url.startswith(
                "https://github.com/brendenlake/omniglot/raw/master/python/images_"
            )
            assert published.url.endswith(published.name)


def test_redirection_away_from_https_is_refused(server, tmp_path):
    server[FILE.url], server["leads to"] = CONTENT, "http://example.org/data.zip"
    with pytest.raises(DataError, match=r"https://example.org/data.zip: .* http://example.org/data.zip"):
        FILE.download(tmp_path)
    assert list(tmp_path.iterdir()) == []
