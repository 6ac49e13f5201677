"""scripts/datasets without a network: tables, checksums, drawing, a folder written whole or not at all."""

import hashlib
import io
import json
import stat
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw

from nasmeta.errors import DataError, UserError
from tests.conftest import ROOT
from tests.scripts import load_beside

FOLDER = ROOT / "scripts" / "datasets"
TABLES = ["icons", "glyphs", "emoji"]


def script(name: str) -> ModuleType:
    return load_beside(f"datasets/{name}.py")


@pytest.fixture(scope="module")
def npm() -> ModuleType:
    return script("npm_packages")


@pytest.fixture(scope="module")
def folders(npm: ModuleType) -> ModuleType:
    return script("class_folders")


def packed(files: dict[str, bytes]) -> bytes:
    """An archive as npm's registry has them: all files are in a folder, mostly called package."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose archives a program called npm delivers; `calls` in it has a line for each call."""
    folder = tmp_path / "registry"
    folder.mkdir()
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, shutil, sys\n"
        f"registry = pathlib.Path({str(folder)!r})\n"
        "words = [word for word in sys.argv[1:] if not word.startswith('-')]\n"
        "with (registry / 'calls').open('a') as calls: print(*words, file=calls)\n"
        "for word in words[1:]:\n"
        "    file = registry / (word.lstrip('@').replace('/', '-').replace('@', '-') + '.tgz')\n"
        "    if not file.exists():\n"
        "        sys.exit(f'npm error code E404\\nnpm error 404 no such package: {word}')\n"
        "    shutil.copy(file, '.')\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent))
    return folder


def published(npm: ModuleType, registry: Path, name: str, files: dict[str, bytes]) -> object:
    data = packed(files)
    package = npm.Package(name, "1.0.0", hashlib.sha256(data).hexdigest(), "MIT")
    (registry / package.file).write_bytes(data)
    return package


def test_archives_are_fetched_once_and_read_in_place(npm: ModuleType, registry: Path, tmp_path: Path) -> None:
    packages = [published(npm, registry, f"@set/{i}", {"a.json": f"[{i}]".encode()}) for i in range(10)]
    for _ in range(2):
        archives = npm.fetch(packages, tmp_path / "cache")
        assert [archives[f"@set/{i}"].read_json("a.json") for i in range(10)] == [[i] for i in range(10)]
    assert archives["@set/0"].names == ["a.json"]
    assert archives["@set/0"].read_json("b.json") == {}
    calls = (registry / "calls").read_text().splitlines()
    assert sorted(" ".join(calls).replace("pack ", "").split()) == sorted(
        f"@set/{i}@1.0.0" for i in range(10)
    )


def test_a_damaged_archive_is_fetched_again(npm: ModuleType, registry: Path, tmp_path: Path) -> None:
    package = published(npm, registry, "@set/a", {"a.json": b"1"})
    npm.fetch([package], tmp_path)
    (tmp_path / package.file).write_bytes(b"torn")
    assert npm.fetch([package], tmp_path)["@set/a"].read_json("a.json") == 1


def test_another_archive_than_the_table_says_is_refused(
    npm: ModuleType, registry: Path, tmp_path: Path
) -> None:
    package = published(npm, registry, "@set/a", {"a.json": b"1"})
    (registry / package.file).write_bytes(packed({"a.json": b"2"}))
    with pytest.raises(DataError, match=rf"@set/a@1\.0\.0.*{package.sha256}") as error:
        npm.fetch([package], tmp_path / "cache")
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "cache").iterdir()), "nothing of it is kept"


def test_a_failure_of_npm_is_one_line(npm: ModuleType, registry: Path, tmp_path: Path) -> None:
    package = npm.Package("@set/none", "1.0.0", "0" * 64, "MIT")
    with pytest.raises(DataError, match=r"@set/none@1\.0\.0.*no such package") as error:
        npm.fetch([package], tmp_path / "cache")
    assert "\n" not in str(error.value)


def test_a_missing_npm_is_named(npm: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"^npm: no such program"):
        npm.fetch([npm.Package("@set/a", "1.0.0", "0" * 64, "MIT")], tmp_path / "cache")


@pytest.mark.parametrize("name", TABLES)
def test_a_table_pins_every_package_once(npm: ModuleType, name: str) -> None:
    packages = npm.read_table(FOLDER / f"{name}.txt")
    assert len({package.name for package in packages}) == len(packages) > 5
    for package in packages:
        assert len(bytes.fromhex(package.sha256)) == 32
        assert package.licence
        assert not package.licence.startswith("GPL")


def test_a_wrong_line_of_a_table_is_named(npm: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("@set/a 1.0.0 00 MIT\n@set/b 1.0.0\n")
    with pytest.raises(DataError, match=r"t\.txt: line 2: 2 words"):
        npm.read_table(tmp_path / "t.txt")


def test_every_typeface_of_a_script_is_in_the_table(npm: ModuleType) -> None:
    scripts = yaml.safe_load((FOLDER / "glyphs.yaml").read_text(encoding="utf-8"))
    named = {face for script in scripts.values() for face in script["typefaces"].split()}
    packages = npm.read_table(FOLDER / "glyphs.txt")
    assert named == {package.name.removeprefix("@fontsource/") for package in packages}
    for script in scripts.values():
        characters = script["characters"]
        assert len(set(characters)) == len(characters)
        assert not any(character.isspace() for character in characters)


def square(grey: int) -> Image.Image:
    return Image.new("L", (4, 4), grey)


def test_classes_with_enough_pictures_are_written(
    npm: ModuleType, folders: ModuleType, tmp_path: Path
) -> None:
    drawn = {"few": {"a": square(0)}, "many": {"a": square(0), "b": square(200)}}
    classes = [(name, lambda name=name: drawn[name]) for name in drawn]
    packages = [npm.Package(name, "1.0.0", "", "MIT") for name in ("@set/b", "@set/a")]
    folders.write(tmp_path / "out", classes, least=2, packages=packages)
    found = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file())
    assert found == ["out/LICENCES.txt", "out/many/a.png", "out/many/b.png"]
    assert Image.open(tmp_path / "out/many/b.png").getpixel((0, 0)) == 200
    assert (tmp_path / "out/LICENCES.txt").read_text() == "@set/a@1.0.0 MIT\n@set/b@1.0.0 MIT\n"


def test_a_killed_build_goes_on(folders: ModuleType, tmp_path: Path) -> None:
    """What is drawn is not drawn again, and OUT is there only once all of it is."""
    calls: list[str] = []

    def draw(name: str, fails: bool) -> dict[str, Image.Image]:
        calls.append(name)
        if fails:
            raise KeyboardInterrupt
        return {"a": square(0)}

    def build(fails: bool) -> None:
        classes = [("one", lambda: draw("one", False)), ("two", lambda: draw("two", fails))]
        folders.write(tmp_path / "out", classes, least=1, packages=[])

    with pytest.raises(KeyboardInterrupt):
        build(fails=True)
    assert not (tmp_path / "out").exists()
    build(fails=False)
    assert calls == ["one", "two", "two"]
    assert sorted(folder.name for folder in (tmp_path / "out").iterdir() if folder.is_dir()) == ["one", "two"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(UserError, match="exists already"):
        build(fails=False)


def test_the_difference_is_of_grey_levels(folders: ModuleType) -> None:
    assert folders.difference(square(0), square(255)) == 1.0
    assert folders.difference(square(51), square(0)) == pytest.approx(0.2)
    assert folders.difference(square(7), square(7)) == 0.0


def test_a_missing_extra_is_named(
    folders: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["icons.py", "--out", str(tmp_path / "out")])
    assert folders.command("", lambda out, cache: None, needs="no_such_module") == 2
    assert capsys.readouterr().err.splitlines() == [
        "no_such_module: not installed; this installs it: scripts/setup datasets"
    ]
    assert folders.command("", lambda out, cache: None, needs="json") == 0


extra = pytest.mark.extra("datasets")


@pytest.fixture(scope="module")
def icons(folders: ModuleType) -> ModuleType:
    return script("icons")


@extra
@pytest.mark.parametrize(
    "name, thing, styles",
    [("robot", "robot", 0), ("settings-outline", "gear", 1), ("outline-fish-24", "fish", 2), ("24", "24", 0)],
)
def test_the_name_says_what_an_icon_shows(icons: ModuleType, name: str, thing: str, styles: int) -> None:
    assert icons.Words(FOLDER / "icons.yaml").thing(name) == (thing, styles)


def icon_set(npm: ModuleType, folder: Path, data: dict[str, object]) -> object:
    from iconify import IconSet

    path = folder / "set.tgz"
    path.write_bytes(packed({"icons.json": json.dumps(data).encode()}))
    return IconSet(npm.Archive(npm.Package("@iconify-json/x", "1.0.0", "", "MIT"), path))


SQUARE = '<path fill="currentColor" d="M2 2h4v8h-4z"/>'


@extra
def test_an_icon_is_cut_to_what_is_drawn_and_centred(
    npm: ModuleType, icons: ModuleType, tmp_path: Path
) -> None:
    """A black bar, twice as high as wide, fills the height but for the margin."""
    bars = icon_set(npm, tmp_path, {"icons": {"bar": {"body": SQUARE}}, "width": 12, "height": 12})
    (picture,) = icons.pictures({"x": bars, "y": bars}, {"x": "bar", "y": "bar"}).values()
    dark = np.argwhere(np.asarray(picture) < 128)
    assert picture.size == (48, 48)
    assert dark.min(0).tolist() == [3, 13]
    assert dark.max(0).tolist() == [44, 33]


@extra
def test_hidden_turned_and_missing_icons_are_not_drawn(
    npm: ModuleType, icons: ModuleType, tmp_path: Path
) -> None:
    icon = {"body": SQUARE}
    data = {
        "icons": {"a": icon, "b": icon | {"hidden": True}, "c": {"body": ""}},
        "aliases": {"d": {"parent": "a"}, "e": {"parent": "a", "rotate": 1}},
    }
    own = icon_set(npm, tmp_path, data)
    drawn = {name: own.draw(name, 48) for name in "abcdef"}
    assert [name for name, picture in drawn.items() if picture is not None] == ["a", "c", "d"]
    assert drawn["a"].tobytes() == drawn["d"].tobytes()
    assert icons.framed(drawn["c"]) is None


@extra
def test_small_letters_of_a_typeface_of_capitals_are_left_out(folders: ModuleType) -> None:
    class Face:
        def __init__(self, capitals_only: bool) -> None:
            self.capitals_only = capitals_only

        def draw(self, character: str) -> Image.Image:
            sheet = Image.new("L", (48, 48), 255)
            text = character.upper() if self.capitals_only else character
            ImageDraw.Draw(sheet).text((10, 10), text, fill=0)
            return sheet.crop((8, 8, 20, 22)).resize((48, 48))

    faces = {"both": Face(False), "capitals": Face(True)}
    glyphs = script("glyphs")
    assert list(glyphs.pictures(faces, "a")) == ["both"]
    assert list(glyphs.pictures(faces, "A")) == ["both"], "two that look the same count once"


@extra
def test_names_of_characters_and_icons_are_matched(folders: ModuleType) -> None:
    emoji = script("emoji")
    assert emoji.squeezed("BLACK HEART SUIT") == emoji.squeezed("black-heart_suit") == "blackheartsuit"
    assert emoji.VARIANT.search("man-running")
    assert emoji.VARIANT.search("flag-peru")
    assert not emoji.VARIANT.search("mango")
