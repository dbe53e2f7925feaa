"""Attribute lists as they are published and as spreadsheets save them, and what is refused."""

import unicodedata

import pytest
from PIL import Image

from img2img.data.attributes import read_attributes
from img2img.errors import DataError

FORMS = {
    "CelebA": "2\nMale Smiling\n1.jpg  1 -1\n2.jpg -1  1\n",
    "without a count": "Male Smiling\n1.jpg 1 -1\n2.jpg -1 1\n",
    "Kaggle": "image_id,Male,Smiling\n1.jpg,1,-1\n2.jpg,-1,1\n",
    "semicolons and CRLF": "image_id;Male;Smiling\r\n1.jpg;1;0\r\n2.jpg;0;1\r\n",
    "tabs": "file\tMale\tSmiling\n1.jpg\tyes\tno\n2.jpg\tno\tyes\n",
    "BOM and quotes": '\ufeff"image_id","Male","Smiling"\n"1.jpg","1","0"\n"2.jpg","0","1"\n',
    "pandas' index": ",image_id,Male,Smiling\n0,1.jpg,True,False\n1,2.jpg,False,True\n",
    "names last": "Male,Smiling,filename\n1,0,1.jpg\n0,1,2.jpg\n",
    "header of attributes alone": "Male,Smiling\n1.jpg,1,0\n2.jpg,0,1\n",
    "spaces and empty lines": "image_id, Male, Smiling\n\n1.jpg, 1, 0\n,,\n2.jpg, 0, 1\n\n",
    "header with spaces": "image_id Male Smiling\n1.jpg 1 -1\n2.jpg -1 1\n",
}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "img"
    folder.mkdir()
    for name in ("1.jpg", "2.jpg"):
        Image.new("RGB", (8, 8)).save(folder / name)
    return folder


@pytest.fixture
def read(folder, tmp_path):
    """A function (text of the list, attributes) -> the pictures' attributes by file name."""

    def read(text: str, *names: str) -> dict[str, tuple[str, ...]]:
        table = tmp_path / "list.csv"
        table.write_bytes(text.encode())
        listed = read_attributes(table, folder, names or ("Male", "Smiling"))
        return {path.relative_to(folder).as_posix(): had for path, had in listed.items}

    return read


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_list_says_the_same(read, form):
    assert read(FORMS[form]) == {"1.jpg": ("Male",), "2.jpg": ("Smiling",)}


@pytest.mark.parametrize("yes", ["1", "1.0", "+1", "+1.0", "True", "TRUE", "yes", "Yes"])
@pytest.mark.parametrize("no", ["0", "-1", "-1.0", "0.0", "False", "no", "NO"])
def test_values_are_yes_or_no_in_every_spelling(read, yes, no):
    table = f"image_id,Male\n1.jpg,{yes}\n2.jpg,{no}\n"
    assert read(table, "Male") == {"1.jpg": ("Male",), "2.jpg": ()}


@pytest.mark.parametrize("value", ["", "2", "0.5", "male", "nan", "1,0", "−1", "1 1"])
def test_another_value_is_refused_with_line_and_column(read, value):
    with pytest.raises(DataError, match=r"list\.csv, line 3, Male: the value .* is not one of"):
        read(f'image_id;Male\n1.jpg;1\n2.jpg;"{value}"\n', "Male")


def test_columns_that_are_not_asked_for_may_hold_anything(read):
    table = "image_id,x_1,Male\n1.jpg,95,1\n2.jpg,72,0\n"
    assert read(table, "Male") == {"1.jpg": ("Male",), "2.jpg": ()}


def test_both_0_and_minus_1_in_a_column_are_refused(read):
    """One of them may be "not known", as in MAAD-Face."""
    with pytest.raises(DataError, match="Male is 0 in line 3 and -1 in line 2"):
        read("image_id,Male,Smiling\n1.jpg,-1,1\n2.jpg,0,1\n")
    assert read("image_id,Male,Smiling\n1.jpg,-1,1\n2.jpg,1,0\n")["2.jpg"] == ("Male",)


def test_names_with_spaces_commas_and_quotes_are_read(read, folder):
    Image.new("RGB", (8, 8)).save(folder / "my photo, old.jpg")
    table = 'image_id,"Black hair, long","5 o\'clock ""shadow"""\n"my photo, old.jpg",1,0\n'
    names = ("Black hair, long", '5 o\'clock "shadow"')
    assert read(table, *names) == {"my photo, old.jpg": ("Black hair, long",)}


@pytest.mark.parametrize(
    ("rows", "kept"),
    [("1.jpg,1,0\n1.jpg,1,0\n", ("Male",)), ("1.jpg,1,0\n1.jpg,1.0,False\n", ("Male",))],
)
def test_a_repeated_row_is_taken_once(read, rows, kept):
    assert read("image_id,Male,Smiling\n" + rows) == {"1.jpg": kept}


@pytest.mark.parametrize("again", ["1.jpg", "1", "./1.jpg", "img/1.jpg"])
def test_rows_that_contradict_each_other_are_refused_with_both_lines(read, again):
    with pytest.raises(DataError, match=r"lines 2 and 4 contradict .*\(Smiling\)"):
        read(f"image_id,Male,Smiling\n1.jpg,1,0\n2.jpg,0,1\n{again},1,1\n")


@pytest.mark.parametrize(
    "name", ["../1.jpg", "a/../../1.jpg", "/etc/1.jpg", "\\\\host\\1.jpg", "C:/1.jpg", "..\\1.jpg"]
)
def test_names_that_lead_out_of_the_folder_are_refused(read, folder, name):
    Image.new("RGB", (8, 8)).save(folder.parent / "1.jpg")
    with pytest.raises(DataError, match=r"line 3: .* is not a file inside the folder"):
        read(f"image_id,Male\n2.jpg,1\n{name},1\n", "Male")


def test_a_wrong_count_is_refused(read):
    with pytest.raises(DataError, match=r"first line, .* lists 202,599 pictures, but it lists 2"):
        read("202599\nMale Smiling\n1.jpg 1 -1\n2.jpg -1 1\n")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("image_id,Male,Male", "two columns named Male"),
        ("image_id,Male,", r"Column 3 of .* has no name"),
        ("image_id,,Male", r"Column 2 of .* has no name"),
    ],
)
def test_columns_without_a_name_of_their_own_are_refused(read, header, message):
    with pytest.raises(DataError, match=message):
        read(f"{header}\n1.jpg,1,0\n", "Male")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_id,Male,Smiling\n1.jpg,1,0,\n", "line 2: 3 values, but 2 attributes"),
        ("photo,Male,Smiling\n1.jpg,1,0,\n", "line 2: 3 values, but 2 attributes"),
        ("image_id,Male,Smiling\n1.jpg,1,0\n2.jpg,1\n", "line 3: 1 values, but 2 attributes"),
        ("Male Smiling\nmy photo.jpg 1 0\n", "3 values, but 2 .* names contain spaces, .* as CSV"),
        ('image_id,Male,Smiling\n1.jpg,1,"0\n', "line 2: unexpected end of data"),
        ("image_id,Male,Smiling\n,1,0\n", "line 2: '' is not a file inside"),
        ("", "is empty"),
        ("2\n", "is empty"),
    ],
)
def test_a_broken_list_is_refused_with_the_line(read, text, message):
    with pytest.raises(DataError, match=message):
        read(text)


def test_a_list_in_another_encoding_is_named(folder, tmp_path):
    table = tmp_path / "list.csv"
    table.write_bytes("image_id,Male\n1.jpg,1\n".encode("utf-16"))
    with pytest.raises(DataError, match="is not UTF-8"):
        read_attributes(table, folder, ("Male",))


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_match_in_either_unicode_form(read, folder, form):
    Image.new("RGB", (8, 8)).save(folder / unicodedata.normalize("NFD", "é.jpg"))
    Image.new("RGB", (8, 8)).save(folder / unicodedata.normalize("NFC", "ü.jpg"))
    listed = unicodedata.normalize(form, "image_id,Männlich\né.jpg,1\nü.jpg,0\n")
    assert list(read(listed, "Männlich").values()) == [("Männlich",), ()]


def test_names_match_without_suffix_with_another_and_in_sub_folders(read, folder):
    for name in ("sub/3.png", "sub/4.v2.png", "5.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / name)
    rows = ("1", "img/2.jpg", "3.jpg", "sub/4.v2", "5.jpg")  # CelebA's PNGs are listed as JPEGs
    table = "image_id,Male\n" + "".join(f"{name},1\n" for name in rows)
    assert list(read(table, "Male")) == ["1.jpg", "2.jpg", "sub/3.png", "sub/4.v2.png", "5.png"]


def test_an_exact_name_goes_before_a_similar_one(read, folder):
    Image.new("RGB", (8, 8)).save(folder / "1.png")
    assert read("image_id,Male\n1.jpg,1\n1.png,0\n", "Male") == {"1.jpg": ("Male",), "1.png": ()}


def test_a_name_that_may_mean_two_pictures_is_refused(read, folder):
    Image.new("RGB", (8, 8)).save(folder / "1.png")
    with pytest.raises(DataError, match=r"line 2: '1' may be .*1\.jpg or .*1\.png"):
        read("image_id,Male\n1,1\n", "Male")


def test_what_is_listed_or_there_alone_is_told(folder, tmp_path):
    table = tmp_path / "list.csv"
    table.write_text("image_id,Male\n1.jpg,1\n7.jpg,1\n")
    listed = read_attributes(table, folder, ("Male",))
    assert listed.missing == [folder / "7.jpg"]
    assert listed.unlisted == [folder / "2.jpg"]


def test_a_list_of_other_pictures_is_refused(read):
    with pytest.raises(DataError, match=r"None of the 1 pictures .* is in .*\(for example 7\.jpg"):
        read("image_id,Male\n7.jpg,1\n", "Male")
