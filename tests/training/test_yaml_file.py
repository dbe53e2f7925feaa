"""Configs that are written to do harm are refused in words, and fast."""

import pytest

from img2img.errors import DataError
from img2img.training import yaml_file

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)
MERGES = "a0: &a0 {b: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 60)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1: 2", "line 1: the name of a setting is not a text"),
        ("method:\n  width: 3\n  yes: 4", "line 3: the name of a setting is not a text"),
        ("? [a, b]\n: 3", "the name of a setting is not a text"),
        ("a: " + "[" * 3000 + "]" * 3000, "nested more than 20 levels deep"),
        ("a: " + "[" * 25 + "]" * 25, "nested more than 20 levels deep"),
        ('{"a": ' * 3000, "nested more than 20 levels deep"),
        (BOMB, "more than 10,000 values"),
        (MERGES, "more than 10,000 values"),
        ("a: &a [*a]", "contains itself"),
        ("a: &a {b: &b [*a]}", "contains itself"),
        ("name: 2024-99-99", "can't be read"),
        ("steps: " + "9" * 5000, "can't be read"),
        ("a: !!python/object/apply:os.getcwd []", "can't be read"),
        ("a: \x00", "can't be read"),
        ("#" + "x" * 2**16, "larger than 64 KiB"),
    ],
    ids=lambda value: value[:24],
)
def test_what_is_no_config_is_refused_in_words(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as raised:
        yaml_file.load(path)
    assert str(path) in str(raised.value)


def test_anchors_and_merges_of_an_ordinary_config_are_read(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("base: &base {width: 8, parts: &p [a, b]}\nmethod: {<<: *base, more: *p}\n")
    base = {"width": 8, "parts": ["a", "b"]}
    assert yaml_file.load(path) == {"base": base, "method": base | {"more": ["a", "b"]}}


@pytest.mark.parametrize("content", [b"", b"# nothing"])
def test_an_empty_file_has_no_values(tmp_path, content):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    assert yaml_file.load(path) is None


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(b"a: \xff")
    with pytest.raises(DataError, match="can't be read"):
        yaml_file.load(path)
