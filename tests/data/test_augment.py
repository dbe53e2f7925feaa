"""How pictures of another shape are made to fit, and label maps resized without mixing colors."""

from random import Random

import albumentations as A
import numpy as np
import pytest

from img2img.data.augment import Augment
from img2img.data.cache import Cache
from img2img.data.dataset import Form
from img2img.errors import DataError
from img2img.sizes import Size

WIDE = np.zeros((40, 120, 3), np.uint8)  # three squares: red, green, blue
WIDE[:, :40, 0] = WIDE[:, 40:80, 1] = WIDE[:, 80:, 2] = 255


def made(augment: Augment, picture: np.ndarray, seed: int = 0, name: str = "a") -> np.ndarray:
    """The picture after both stages."""
    forms = {name: Form(picture.shape[2], "uint8")}
    ready = augment.prepared(0, forms, lambda: {name: picture})
    return augment(np.random.default_rng(seed), ready)[name]


def colors_of(picture: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(color) for color in picture.reshape(-1, picture.shape[-1]).tolist()}


def test_squash_shows_all_of_it():
    squashed = made(Augment(24, 24, None, False, False), WIDE)
    assert squashed.shape == (24, 24, 3)
    assert squashed[12, [2, 12, 21]].argmax(-1).tolist() == [0, 1, 2]


def test_crop_keeps_the_shape_and_shows_the_middle():
    cropped = made(Augment(24, 24, None, False, False, fit="crop"), WIDE)
    assert cropped.shape == (24, 24, 3)
    assert (cropped.argmax(-1)[:, 1:-1] == 1).all()


def test_crop_is_at_random_in_training():
    augment = Augment(24, 24, None, False, True, fit="crop")
    middles = {int(made(augment, WIDE, seed)[12, 12].argmax()) for seed in range(30)}
    assert middles == {0, 1, 2}


def test_pad_shows_all_of_it_in_its_shape_and_repeats_the_border_below():
    padded = made(Augment(24, 24, None, False, False, fit="pad"), WIDE)
    assert padded.shape == (24, 24, 3)
    assert padded[:, [2, 12, 21]].argmax(-1).tolist() == [[0, 1, 2]] * 24
    assert (padded[8:] == padded[7]).all()
    upright = made(Augment(24, 24, None, False, False, fit="pad"), WIDE.transpose(1, 0, 2).copy())
    assert (upright[:, 8:] == upright[:, 7:8]).all()


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("shape", [(40, 120), (120, 40), (64, 64), (33, 50), (7, 200)])
@pytest.mark.parametrize("training", [True, False])
def test_every_fit_gives_the_rectangle_of_any_picture(fit, shape, training):
    augment = Augment(Size(48, 32), Size(54, 36), None, True, training, fit=fit)
    picture = np.full((*shape, 3), 9, np.uint8)
    assert made(augment, picture).shape == (32, 48, 3)


@pytest.mark.parametrize("fit", ["squash", "pad"])
def test_a_cache_gives_rectangles_as_they_were(fit, tmp_path):
    size, load = Size(48, 32), Size(54, 36)
    cache = Cache(tmp_path / "cache", 1, 54 * 36 * 3)
    keeping = Augment(size, load, None, True, True, cache, fit)
    plain = Augment(size, load, None, True, True, None, fit)
    for seed in range(3):
        assert (made(keeping, WIDE, seed) == made(plain, WIDE, seed)).all()


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("size", [17, 100])
def test_the_colors_of_label_maps_do_not_mix(fit, size):
    names = np.random.default_rng(0).integers(0, 5, (30, 50))
    palette = np.array([[0, 0, 0], [255, 0, 0], [0, 200, 0], [9, 9, 250], [255, 255, 0]], np.uint8)
    labels = palette[names]
    augment = Augment(size, size, None, True, True, fit=fit, labels=["a"])
    assert colors_of(made(augment, labels)) <= colors_of(labels)
    assert len(colors_of(made(augment, labels, name="b"))) > 5


MARGINS = ["auto", "reflect", "edge"]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def framed(picture: np.ndarray, color: int = 255, frame: int = 1) -> np.ndarray:
    """The picture [H, W, 3] with a plain border inside of it."""
    inside = picture[frame:-frame, frame:-frame]
    return np.pad(inside, ((frame, frame), (frame, frame), (0, 0)), constant_values=color)


def first_stage(augment: Augment, **pictures: np.ndarray) -> dict[str, np.ndarray]:
    return augment.prepared(0, dict.fromkeys(pictures, Form(3, "uint8")), lambda: pictures)


def with_margin(
    picture: np.ndarray, margin, size=32, load=36, fit="squash", labels=()
) -> np.ndarray:
    """A training picture before it is cropped."""
    augment = Augment(size, load, None, False, True, None, fit, labels, margin)
    return first_stage(augment, a=picture)["a"]


@pytest.mark.parametrize("margin", MARGINS)
def test_a_picture_at_its_size_is_moved_and_not_resized(margin):
    picture = noise(32, 32)
    assert (with_margin(picture, margin)[2:-2, 2:-2] == picture).all()
    augment = Augment(32, 36, None, False, True, margin=margin)
    places = set()
    for seed in range(120):
        crop = made(augment, picture, seed)
        places |= {
            (down, right)
            for down in range(5)
            for right in range(5)
            if (crop[8:24, 8:24] == picture[6 + down : 22 + down, 6 + right : 22 + right]).all()
        }
    assert places == {(down, right) for down in range(5) for right in range(5)}


def test_the_default_enlarges_as_the_papers_do():
    picture = noise(32, 32)
    enlarged = with_margin(picture, "enlarge")
    assert enlarged.shape == (36, 36, 3)
    assert (first_stage(Augment(32, 36, None, False, True), a=picture)["a"] == enlarged).all()
    assert (enlarged[2:-2, 2:-2] != picture).any()


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_larger_pictures_are_only_made_smaller(margin, fit):
    for picture in (noise(36, 36), noise(50, 90), noise(90, 50)):
        expected = with_margin(picture, "enlarge", fit=fit)
        assert (with_margin(picture, margin, fit=fit) == expected).all()


@pytest.mark.parametrize("margin", MARGINS)
def test_a_picture_smaller_than_the_crop_is_enlarged_to_it_as_held_out_ones_are(margin):
    for picture in (noise(20, 20), noise(20, 50), noise(31, 36)):
        held_out = first_stage(Augment(32, 36, None, False, False, margin=margin), a=picture)["a"]
        assert held_out.shape == (32, 32, 3)
        assert (with_margin(picture, margin)[2:-2, 2:-2] == held_out).all()


def test_a_margin_takes_up_what_is_lacking_to_the_load_size():
    picture = noise(34, 34)
    assert (with_margin(picture, "edge")[1:-1, 1:-1] == picture).all()
    wide = with_margin(noise(34, 200), "edge")  # squashed to a square, as held-out pictures are
    assert (wide[0] == wide[1]).all()
    assert (wide[:, 0] == wide[:, 1]).all()
    assert (wide[1:-1, 1:-1] == made(Augment(34, 34, None, False, False), noise(34, 200))).all()


@pytest.mark.parametrize(("height", "width"), [(33, 100), (100, 33)])
def test_a_picture_of_another_shape_keeps_its_pixels_if_its_shorter_side_fits(height, width):
    picture = noise(height, width)
    uncropped = with_margin(picture, "reflect", fit="crop")
    assert uncropped.shape == (max(36, height), max(36, width), 3)
    down, right = (36 - height) // 2 if height < 36 else 0, (36 - width) // 2 if width < 36 else 0
    assert (uncropped[down : down + height, right : right + width] == picture).all()
    tall = noise(20, 34)
    assert (with_margin(tall, "edge", fit="pad")[1:21, 1:-1] == tall).all()


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("shape", [(40, 120), (33, 50), (32, 48), (34, 49), (7, 200), (1, 1)])
def test_margins_give_the_rectangle_of_any_picture(margin, fit, shape):
    augment = Augment(Size(48, 32), Size(54, 40), None, True, True, None, fit, (), margin)
    assert made(augment, np.full((*shape, 3), 9, np.uint8)).shape == (32, 48, 3)
    grey = Augment(Size(48, 32), Size(54, 40), None, True, True, None, fit, (), margin)
    assert made(grey, np.full((*shape, 1), 9, np.uint8)).shape == (32, 48, 1)


def test_each_margin_is_what_its_name_says():
    picture = noise(32, 32)
    mirrored, repeated = with_margin(picture, "reflect"), with_margin(picture, "edge")
    assert (mirrored[:2, 2:-2] == picture[2:0:-1]).all()
    assert (mirrored[2:-2, -2:] == picture[:, -2:-4:-1]).all()
    assert (repeated[:2, 2:-2] == picture[0]).all()
    assert (repeated[2:-2, -2:] == picture[:, -1:]).all()


def test_auto_continues_a_plain_border_and_mirrors_other_pictures():
    picture = noise(32, 32)
    assert (with_margin(picture, "auto") == with_margin(picture, "reflect")).all()
    plain = framed(picture, 200)
    plain[0, 9:20] = 7  # touches the border
    padded = with_margin(plain, "auto")
    assert (padded[2:-2, 2:-2] == plain).all()
    padded[2:-2, 2:-2] = 200
    assert (padded == 200).all()
    sky = framed(picture, 200)
    sky[16:] = noise(16, 32)  # half of a border is plain, its corners are not
    assert (with_margin(sky, "auto") == with_margin(sky, "reflect")).all()
    corners = noise(32, 32)
    corners[[0, 0, -1, -1], [0, -1, 0, -1]] = 200
    assert (with_margin(corners, "auto") == with_margin(corners, "reflect")).all()


def test_auto_treats_both_pictures_of_a_pair_alike():
    augment = Augment(32, 36, None, False, True, margin="auto")
    drawing, photo = framed(np.zeros((32, 32, 3), np.uint8)), noise(32, 32)
    ready = first_stage(augment, a=drawing, b=photo)
    assert (ready["a"] == with_margin(drawing, "reflect")).all()
    assert (ready["b"] == with_margin(photo, "reflect")).all()
    other = framed(photo, 30)
    ready = first_stage(augment, a=drawing, b=other)
    assert (ready["a"][0] == 255).all()
    assert (ready["b"][0] == 30).all()


@pytest.mark.parametrize(("height", "width"), [(32, 64), (34, 34), (20, 400)])
def test_both_pictures_of_a_pair_get_one_size(height, width):
    """The larger picture is not resized to the load size beside a smaller one with a margin."""
    augment = Augment(32, 36, None, False, True, margin="reflect")
    small, large = noise(height, width), noise(128, 128)
    ready = first_stage(augment, a=small, b=large)
    assert (ready["a"] == with_margin(small, "reflect")).all()
    side = 34 if height == 34 else 32
    shrunk = made(Augment(side, side, None, False, False), large)
    around = (36 - side) // 2
    assert (ready["b"][around:-around, around:-around] == shrunk).all()


def test_a_center_crop_decides_whether_a_margin_is_needed():
    augment = Augment(32, 36, 32, False, True, margin="edge")
    picture = noise(60, 80)
    assert (first_stage(augment, a=picture)["a"][2:-2, 2:-2] == picture[14:46, 24:56]).all()


@pytest.mark.parametrize("load", [None, 32])
def test_without_room_for_a_crop_there_is_no_margin(load):
    augment = Augment(32, load, None, False, True, margin="reflect")
    picture = noise(32, 32)
    assert (first_stage(augment, a=picture)["a"] == picture).all()


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("size", [25, 32, 34])
def test_margins_of_label_maps_have_no_new_colors(margin, size):
    labels = noise(3, 2).reshape(6, 3)[np.random.default_rng(0).integers(0, 6, (size, size))]
    for picture in (labels, framed(labels, 77, 2)):
        augment = Augment(32, 36, None, True, True, None, "squash", ["a"], margin)
        assert colors_of(made(augment, picture)) <= colors_of(picture)


@pytest.mark.parametrize("margin", MARGINS)
def test_a_cache_gives_margins_as_they_were(margin, tmp_path):
    cache = Cache(tmp_path / "cache", 1, 36 * 36 * 3)
    keeping = Augment(32, 36, None, True, True, cache, margin=margin)
    plain = Augment(32, 36, None, True, True, None, margin=margin)
    for picture in (noise(33, 33), np.zeros((1, 1, 3), np.uint8)):  # the second is not looked at
        for seed in range(2):
            assert (made(keeping, picture, seed) == made(plain, noise(33, 33), seed)).all()


def by_albumentations(
    transforms: list[A.BasicTransform], random: np.random.Generator, pictures: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The second stage as it was computed for the runs of earlier versions."""
    compose = A.Compose(transforms, additional_targets=dict.fromkeys(pictures, "image"))
    seed = int(random.integers(2**31))
    compose.set_random_state(np.random.default_rng(seed), Random(seed))
    first = next(iter(pictures))
    return compose(**pictures, image=pictures[first])


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    ("load", "flip", "training", "fit", "shape"),
    [
        (Size(54, 36), True, True, "squash", (36, 54)),
        (Size(54, 36), False, True, "squash", (36, 54)),
        (Size(48, 32), True, True, "squash", (32, 48)),
        (Size(48, 32), False, True, "squash", (32, 48)),
        (Size(48, 32), True, True, "crop", (32, 97)),
        (Size(54, 36), True, True, "crop", (51, 54)),
        (None, True, True, "squash", (33, 301)),
        (None, True, False, "squash", (33, 301)),
        (Size(54, 36), True, False, "crop", (43, 48)),
        (Size(54, 36), True, False, "squash", (32, 48)),
    ],
)
def test_crops_and_flips_are_those_of_albumentations(load, flip, training, fit, shape, channels):
    size = Size(48, 32)
    transforms: list[A.BasicTransform] = []
    if load is None or (training and load != size) or fit == "crop":
        transforms.append((A.RandomCrop if training else A.CenterCrop)(*size.shape))
    if training and flip:
        transforms.append(A.HorizontalFlip(p=0.5))
    augment = Augment(size, load, None, flip, training, fit=fit)
    ours, theirs = (np.random.default_rng(7) for _ in range(2))
    for number in range(300):
        random = np.random.default_rng(number)
        pictures = {
            "a": random.integers(0, 256, (*shape, 3), np.uint8),
            "b": random.integers(0, 256, (*shape, channels), np.uint8),
        }
        expected = by_albumentations(transforms, theirs, pictures)
        for name, picture in augment(ours, pictures).items():
            assert np.array_equal(picture, expected[name].reshape(32, 48, -1))


@pytest.mark.parametrize(("height", "width"), [(60, 80), (61, 75), (50, 50)])
def test_the_center_crop_is_that_of_albumentations(height, width):
    picture = noise(height, width)
    cropped = first_stage(Augment(50, None, Size(47, 50), False, False), a=picture)["a"]
    assert np.array_equal(cropped, A.CenterCrop(50, 47)(image=picture)["image"])


def test_a_picture_that_is_smaller_than_its_center_crop_is_a_data_error():
    with pytest.raises(DataError, match=r"40x60 px is smaller than its center crop, of 50 px"):
        first_stage(Augment(32, 36, 50, False, True), a=noise(60, 40))


@pytest.mark.parametrize("seed", range(4))  # some of them flip
def test_a_sample_can_be_changed_without_changing_the_cache(seed, tmp_path):
    cache = Cache(tmp_path / "cache", 1, 32 * 32 * 3)
    augment = Augment(32, 32, None, True, True, cache)
    picture = noise(32, 32)
    for _ in range(2):
        sample = made(augment, picture, seed)
        sample[:] = 0
    ready = augment.prepared(0, {"a": Form(3, "uint8")}, lambda: pytest.fail("it is in the cache"))[
        "a"
    ]
    assert np.array_equal(ready, picture)
    with pytest.raises(ValueError, match="read-only"):
        ready[0] = 0


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("bands", [1, 2, 5, 150])
def test_pictures_of_any_type_and_number_of_bands_are_resized_cropped_and_mirrored(
    dtype, bands, tmp_path
):
    values = (np.random.default_rng(0).random((40, 50, bands)) * 200).astype(dtype)
    cache = Cache(tmp_path / "cache", 1, 20 * 20 * bands * np.dtype(dtype).itemsize)
    plain, cached = (Augment(16, 20, None, True, True, kept) for kept in (None, cache))
    forms = {"a": Form(bands, dtype)}
    for seed in range(6):
        results = [
            augment(np.random.default_rng(seed), augment.prepared(0, forms, lambda: {"a": values}))
            for augment in (plain, cached)
        ]
        first, second = (result["a"] for result in results)
        assert first.dtype == dtype
        assert first.shape == (16, 16, bands)
        assert np.array_equal(first, second)
        assert abs(first.mean() - values.mean()) < 10
