"""The part of make-decode-references for colour and for depths that radiographs do not have. Argument: the folder to fill.

Each file NAME.dcm has beside it NAME.png: the picture that pydicom makes of it, with libjpeg-turbo and OpenJPEG for what is compressed.
"""

import io
import pathlib
import sys

import numpy as np
import pydicom.uid as uid
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_color_lut, convert_color_space, pack_bits, pixel_array
from pydicom.pixels.encoders import RLELosslessEncoder

FOLDER = pathlib.Path(sys.argv[1])
# an even width: two pixels share their colour in YBR_FULL_422
ROWS, COLUMNS = 21, 34
EXPLICIT = uid.ExplicitVRLittleEndian


def picture(top=255):
    """Slopes in each colour, a white and a black area, and some noise."""
    random = np.random.default_rng(7)
    y, x = np.mgrid[0:ROWS, 0:COLUMNS]
    values = np.stack([x / COLUMNS, y / ROWS, 1 - x / COLUMNS * y / ROWS], axis=-1) * top
    values[3:9, 4:12] = top
    values[12:18, 20:30] = 0
    values[14:, :8] += random.normal(0, top / 20, (ROWS - 14, 8, 3))
    return np.clip(values, 0, top).astype(np.uint16 if top > 255 else np.uint8)


def data_set(syntax, photometric, bits, samples=3, planar=None, **more):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "2.25.1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.2", "2.25.3"
    ds.PatientName, ds.PatientID, ds.Modality = "REFERENCE^COLOUR", "R", "OT"
    ds.Rows, ds.Columns, ds.SamplesPerPixel = ROWS, COLUMNS, samples
    ds.PhotometricInterpretation = photometric
    ds.BitsAllocated = bits
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, 0
    if planar is not None:
        ds.PlanarConfiguration = planar
    for name, value in more.items():
        setattr(ds, name, value)
    return ds


def keep(name, ds, pixels, wanted=None):
    """Writes a file, and the picture that is expected of it."""
    encapsulated = ds.file_meta.TransferSyntaxUID.is_encapsulated
    pixels += b"\0" * (len(pixels) % 2)
    ds.PixelData = encapsulate([pixels]) if encapsulated else pixels
    ds["PixelData"].VR = "OW" if ds.BitsAllocated > 8 else "OB"
    ds["PixelData"].is_undefined_length = encapsulated
    path = FOLDER / f"{name}.dcm"
    ds.save_as(path, enforce_file_format=True)
    if wanted is None:
        wanted = pixel_array(dcmread(path))
    if wanted.dtype == np.uint16:
        wanted = (wanted.astype(np.uint32) * 255 + 32767) // 65535
    Image.fromarray(wanted.astype(np.uint8)).save(FOLDER / f"{name}.png", optimize=True)


def jpeg(rgb, **options):
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


def without_a_word(stream):
    """A JPEG that does not say in which colours it is, as some devices write them: no JFIF, no Adobe, components 1, 2 and 3."""
    kept, at, marker = stream[:2], 2, 0
    while marker != 0xDA:
        marker = stream[at + 1]
        end = at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        segment = bytearray(stream[at:end])
        # frame and scan name their components, in three bytes each and in two
        first, step = {0xC0: (10, 3), 0xDA: (5, 2)}.get(marker, (0, 0))
        for number in range(3 if step else 0):
            segment[first + step * number] = number + 1
        if marker not in (0xE0, 0xEE):
            kept += segment
        at = end
    return kept + stream[at:]


def jpeg_2000(rgb, reversible):
    stream = io.BytesIO()
    options = {} if reversible else {"irreversible": True, "quality_layers": [4]}
    Image.fromarray(rgb).save(stream, "JPEG2000", no_jp2=True, mct=1, num_resolutions=3, **options)
    return stream.getvalue()


def palette(bits, first):
    """Red, green and blue for 64 stored values."""
    count, top = 64, (1 << bits) - 1
    steps = np.linspace(0, top, count)
    curves = [steps, top - steps, np.abs(top - 2 * steps)]
    tables = {}
    for colour, curve in zip(("Red", "Green", "Blue"), curves, strict=True):
        entries = curve.astype("<u2" if bits == 16 else "u1").tobytes()
        tables[f"{colour}PaletteColorLookupTableDescriptor"] = [count, first, bits]
        tables[f"{colour}PaletteColorLookupTableData"] = entries
    return tables


rgb = picture()
planes = np.moveaxis(rgb, -1, 0)
ybr = convert_color_space(rgb, "RGB", "YBR_FULL")
keep("rgb", data_set(EXPLICIT, "RGB", 8, planar=0), rgb.tobytes())
keep("rgb-planes", data_set(EXPLICIT, "RGB", 8, planar=1), planes.tobytes())
keep("rgb-16", data_set(EXPLICIT, "RGB", 16, planar=0), picture(65535).tobytes())
keep("ybr-full", data_set(EXPLICIT, "YBR_FULL", 8, planar=0), ybr.tobytes())
pairs = np.stack([ybr[:, 0::2, 0], ybr[:, 1::2, 0], ybr[:, 0::2, 1], ybr[:, 0::2, 2]], axis=-1)
keep("ybr-full-422", data_set(EXPLICIT, "YBR_FULL_422", 8, planar=0), pairs.tobytes())

for name, samples, photometric, planar in (
    ("rle-rgb", rgb, "RGB", 0),
    ("rle-rgb-planes", rgb, "RGB", 1),
    ("rle-rgb-16", picture(65535), "RGB", 0),
    ("rle-ybr-full", ybr, "YBR_FULL", 0),
):
    ds = data_set(uid.RLELossless, photometric, samples.itemsize * 8, planar=planar)
    options = {
        "rows": ROWS, "columns": COLUMNS, "samples_per_pixel": 3, "bits_allocated": ds.BitsAllocated,
        "bits_stored": ds.BitsStored, "pixel_representation": 0, "photometric_interpretation": photometric,
        "number_of_frames": 1, "planar_configuration": 0,
    }
    keep(name, ds, RLELosslessEncoder.encode(samples, **options))

keep("jpeg-444", data_set(uid.JPEGBaseline8Bit, "YBR_FULL", 8, planar=0), jpeg(rgb, subsampling="4:4:4"))
keep("jpeg-422", data_set(uid.JPEGBaseline8Bit, "YBR_FULL_422", 8, planar=0), jpeg(rgb, subsampling="4:2:2"))
keep("jpeg-420", data_set(uid.JPEGBaseline8Bit, "YBR_FULL_422", 8, planar=0), jpeg(rgb, subsampling="4:2:0"))
stream = jpeg(rgb, keep_rgb=True)
plain = np.asarray(Image.open(io.BytesIO(stream)).convert("RGB"))
keep("jpeg-rgb", data_set(uid.JPEGBaseline8Bit, "RGB", 8, planar=0), stream, plain)
keep("jpeg-rgb-unsaid", data_set(uid.JPEGBaseline8Bit, "RGB", 8, planar=0), without_a_word(stream), plain)
keep("jpeg2000-rct", data_set(uid.JPEG2000Lossless, "YBR_RCT", 8, planar=0), jpeg_2000(rgb, True))
keep("jpeg2000-ict", data_set(uid.JPEG2000, "YBR_ICT", 8, planar=0), jpeg_2000(rgb, False))

index = (np.add.outer(np.arange(ROWS), np.arange(COLUMNS)) + 5).astype(np.uint8)
for bits in (8, 16):
    for name, syntax, pixels in (("", EXPLICIT, index.tobytes()), ("-rle", uid.RLELossless, None)):
        ds = data_set(syntax, "PALETTE COLOR", 8, samples=1, **palette(bits, 10))
        if pixels is None:
            pixels = RLELosslessEncoder.encode(
                index, rows=ROWS, columns=COLUMNS, samples_per_pixel=1, bits_allocated=8, bits_stored=8,
                pixel_representation=0, photometric_interpretation="PALETTE COLOR", number_of_frames=1,
            )
        wanted = apply_color_lut(index, ds)
        keep(f"palette-{bits}{name}", ds, pixels, wanted if bits == 8 else (wanted >> 8).astype(np.uint8))

mask = (rgb[..., 0] > 100).astype(np.uint8)
ds = data_set(EXPLICIT, "MONOCHROME2", 1, samples=1, NumberOfFrames=2)
frames = np.stack([mask, 1 - mask])
keep("bits-2-frames", ds, pack_bits(frames), (1 - mask) * 255)
wide = np.add.outer(np.arange(ROWS) * 70_000, np.arange(COLUMNS)).astype("<u4")
low, high = wide.min(), wide.max()
scaled = np.rint((wide - low) / (high - low) * 255)
keep("grey-32", data_set(EXPLICIT, "MONOCHROME2", 32, samples=1), wide.tobytes(), scaled)
