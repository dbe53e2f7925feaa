"""Simulate pictures that are not photographs: CT of low and full dose, or cells in a microscope.

    python examples/values/simulate.py ct OUT              # OUT/{low,full}/patient07/03.dcm
    python examples/values/simulate.py microscope OUT      # OUT/{brightfield,nuclei}/slide07-03.tif

Nothing of it is real: they show how such data are trained on and measured, in minutes on a CPU, not
how well that works on patients or cells. Needs `pip install 'img2img-gan[science,medical]'`.
"""

import argparse
import sys
from pathlib import Path

try:
    import cv2
    import numpy as np
    import pydicom
    import tifffile
except ImportError as error:
    sys.exit(f"{error.name} is missing: pip install 'img2img-gan[train,science,medical]'")

SIDE = 128  # px
GROUPS, EACH = 12, 16  # patients or slides, and pictures of each
ANGLES = 180  # views of the scanner
WATER = 0.02  # attenuation of a pixel of water
PHOTONS = {"low": 1e4, "full": 1e6}  # of a ray in air


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kind", choices=("ct", "microscope"))
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write to")
    args = parser.parse_args()
    for group in range(GROUPS):
        random = np.random.default_rng(group)
        body = random.uniform(0.75, 0.95), random.uniform(0.55, 0.75)  # of a patient
        for number in range(EACH):
            if args.kind == "ct":
                save_slices(args.out, group, number, anatomy(random, body), random)
            else:
                save_fields(args.out, group, number, random)
        print(f"  {group + 1}/{GROUPS}", flush=True)


def ellipse(center: tuple[float, float], radii: tuple[float, float], turn: float) -> np.ndarray:
    """1 within an ellipse, with a soft edge, float32 [SIDE, SIDE]. The side is from -1 to 1."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    x, y = x - center[0], y - center[1]
    along, across = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    distance = np.hypot(along / radii[0], across / radii[1])
    edge = SIDE / 2 * min(radii)
    return np.clip((1 - distance) * edge + 0.5, 0, 1).astype(np.float32)


def anatomy(random: np.random.Generator, body: tuple[float, float]) -> np.ndarray:
    """A slice in Hounsfield units: a body with lungs, a spine, ribs and organs."""
    picture = np.full((SIDE, SIDE), -1000, np.float32)

    def put(hu: float, *shape: tuple[float, float] | float) -> None:
        nonlocal picture
        share = ellipse(*shape)  # type: ignore[arg-type]
        picture = picture * (1 - share) + hu * share

    put(random.normal(-90, 8), (0, 0), body, 0)  # fat
    put(random.normal(50, 5), (0, 0), (body[0] * 0.92, body[1] * 0.88), 0)  # muscle
    lung = random.uniform(0.1, 0.3)
    for side in (-1, 1):
        put(random.normal(-850, 20), (side * 0.38, -0.05), (lung, 0.35), side * 0.3)
    put(random.normal(45, 5), (random.uniform(-0.15, 0.1), -0.1), (0.22, 0.2), random.uniform(0, 3))
    put(random.normal(700, 80), (0, 0.42), (0.1, 0.09), 0)
    for _ in range(6):
        angle = random.uniform(0, 2 * np.pi)
        place = body[0] * 0.8 * np.cos(angle), body[1] * 0.78 * np.sin(angle)
        put(random.normal(500, 80), place, (0.07, 0.025), angle + np.pi / 2)
    for _ in range(random.integers(1, 5)):  # what a radiologist looks for
        place = random.uniform(-0.4, 0.4), random.uniform(-0.25, 0.25)
        put(random.normal(90, 30), place, (random.uniform(0.02, 0.06),) * 2, 0)
    return picture


def scanned(hu: np.ndarray, photons: float, random: np.random.Generator) -> np.ndarray:
    """What a scanner makes of a slice: parallel views with the noise of counted photons, and from
    them a slice again, by filtered backprojection (Kak and Slaney 1988, section 3.3).
    """
    attenuation = np.maximum(hu / 1000 + 1, 0) * WATER
    offsets = np.fft.fftfreq(2 * SIDE, 1 / (2 * SIDE))
    odd = offsets % 2 == 1
    kernel = np.zeros(2 * SIDE)  # equation 61, whose mean is right, unlike that of |frequency|
    kernel[0], kernel[odd] = 1 / 4, -1 / (np.pi * offsets[odd]) ** 2
    ramp = np.fft.fft(kernel).real
    result = np.zeros((SIDE, SIDE), np.float32)
    for view in range(ANGLES):
        turn = 180 * view / ANGLES
        there, back = (
            cv2.getRotationMatrix2D(((SIDE - 1) / 2,) * 2, sign * turn, 1) for sign in (1, -1)
        )
        expected = photons * np.exp(-cv2.warpAffine(attenuation, there, (SIDE, SIDE)).sum(0))
        line = -np.log(np.maximum(random.poisson(expected), 1) / photons)
        filtered = np.fft.ifft(np.fft.fft(line, 2 * SIDE) * ramp).real[:SIDE]
        spread = np.repeat(filtered[np.newaxis].astype(np.float32), SIDE, 0)
        result += cv2.warpAffine(spread, back, (SIDE, SIDE))
    return (result * np.pi / ANGLES / WATER - 1) * 1000


def save_slices(
    out: Path, patient: int, number: int, hu: np.ndarray, random: np.random.Generator
) -> None:
    for dose, photons in PHOTONS.items():
        folder = out / dose / f"patient{patient:02}"
        folder.mkdir(parents=True, exist_ok=True)
        values = np.clip(scanned(hu, photons, random) + 1024, 0, 4095).astype(np.uint16)
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        data.SOPClassUID = pydicom.uid.CTImageStorage
        data.SOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[f"{dose}{patient}-{number}"])
        data.PatientName, data.Modality = f"Simulated^{patient}", "CT"
        data.InstanceNumber = number
        data.Rows = data.Columns = SIDE
        data.PixelSpacing, data.SliceThickness = [3, 3], 5
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
        data.RescaleSlope, data.RescaleIntercept, data.RescaleType = 1, -1024, "HU"
        data.PixelData = values.tobytes()
        data.save_as(folder / f"{number:02}.dcm", enforce_file_format=True)


def save_fields(out: Path, slide: int, number: int, random: np.random.Generator) -> None:
    """A field of cells in transmitted light, 12 bits, and its stained nuclei, 16 bits, dim."""
    thickness, stain = np.zeros((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE), np.float32)
    for _ in range(random.integers(6, 16)):
        center, turn = tuple(random.uniform(-0.95, 0.95, 2)), random.uniform(0, np.pi)
        size = random.uniform(0.12, 0.25)
        cell = cv2.GaussianBlur(ellipse(center, (size * 1.4, size), turn), (0, 0), 4)
        nucleus = cv2.GaussianBlur(ellipse(center, (size * 0.6, size * 0.45), turn), (0, 0), 1.5)
        thickness = np.maximum(thickness, cell + 0.35 * nucleus)
        stain = np.maximum(stain, nucleus * random.uniform(1500, 6000))
    phase = cv2.Laplacian(cv2.GaussianBlur(thickness, (0, 0), 1.2), cv2.CV_32F, ksize=5)
    light = 2600 - 500 * thickness - 60 * phase + random.normal(0, 25, phase.shape)
    glow = 180 + cv2.GaussianBlur(stain, (0, 0), 1) + 0.15 * cv2.GaussianBlur(stain, (0, 0), 12)
    counted = random.poisson(glow)
    for name, values in (("brightfield", light.clip(0, 4095)), ("nuclei", counted)):
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"slide{slide:02}-{number:02}.tif"
        pixels = values.clip(0, 65535).astype(np.uint16)
        size = {"unit": "um", "spacing": 1.0}
        tifffile.imwrite(path, pixels, imagej=True, resolution=(2, 2), metadata=size)


if __name__ == "__main__":
    main()
