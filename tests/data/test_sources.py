"""The folders of a data set as they are given and saved."""

from pathlib import Path

from img2img.data.sources import Sources

OF_AN_OLDER_VERSION = {
    "a": "horses",
    "b": "zebras",
    "pairs": None,
    "swap": False,
    "data": [],
    "attributes": None,
    "attribute": [],
}


def test_a_list_of_folders_is_the_first_and_further_ones():
    sources = Sources(a=["optical", "sar"], b="dem")
    assert (sources.a, sources.more_a) == (Path("optical"), (Path("sar"),))
    assert sources.inputs == (Path("optical"), Path("sar"))
    assert sources.folders() == (Path("optical"), Path("sar"), Path("dem"))
    assert sources.options() == ("--a", "--a", "--b")
    assert Sources(**sources.model_dump()) == sources
    assert Sources(a=["optical"]) == Sources(a="optical")
    assert Sources(a=[]) == Sources()


def test_all_folders_become_absolute():
    absolute = Sources(a=["optical", "sar"], b="dem").absolute()
    assert absolute.inputs == (Path.cwd() / "optical", Path.cwd() / "sar")


def test_what_an_older_version_saved_is_read():
    sources = Sources.model_validate(OF_AN_OLDER_VERSION)
    assert (sources.inputs, sources.more_a) == ((Path("horses"),), ())
