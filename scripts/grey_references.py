"""The part of make-decode-references that needs pydicom. Argument: the folder to fill."""

import hashlib
import json
import pathlib
import sys

import numpy as np
import pydicom
import pydicom.uid as uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

FOLDER = pathlib.Path(sys.argv[1])
ROWS, COLUMNS = 19, 23
SYNTAXES = {
    "explicit": uid.ExplicitVRLittleEndian, "implicit": uid.ImplicitVRLittleEndian, "big": uid.ExplicitVRBigEndian,
}
references = []


def image(bits, signed):
    """A slope over the whole range of the bits, both ends, and noise."""
    random = np.random.default_rng(100 + bits * 2 + signed)
    top = (1 << bits) - 1
    values = np.linspace(0, top, ROWS * COLUMNS).reshape(ROWS, COLUMNS).round().astype(np.int64)
    values[12:, 15:] = random.integers(0, top + 1, (ROWS - 12, COLUMNS - 15))
    values[:2, :4], values[2:4, :4] = 0, top
    if signed:
        values -= 1 << (bits - 1)
    return values.astype(np.dtype(f"{'i' if signed else 'u'}{1 if bits == 8 else 2}"))


def data_set(values, bits, syntax):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "2.25.1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.2", "2.25.3"
    ds.PatientName, ds.PatientID, ds.Modality = "REFERENCE^GREY", "R", "DX"
    ds.Rows, ds.Columns, ds.SamplesPerPixel = ROWS, COLUMNS, 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated = values.dtype.itemsize * 8
    ds.BitsStored, ds.HighBit = bits, bits - 1
    ds.PixelRepresentation = int(values.dtype.kind == "i")
    return ds


def window(ds, function, center=None, width=None):
    """A window over the middle of what the modality LUT gives, so that both ends are cut off."""
    modality = apply_modality_lut(values_of(ds), ds)
    low, high = float(modality.min()), float(modality.max())
    ds.WindowCenter = f"{(low + high) / 2 if center is None else center:.6g}"
    ds.WindowWidth = f"{(high - low) * 0.6 if width is None else width:.6g}"
    if function:
        ds.VOILUTFunction = function


def values_of(ds):
    return ds.values_for_reference


def table(ds, first, count, bits, data_vr="US"):
    """An item of a LUT sequence that bends, with `count` entries of `bits` bits from input `first` on."""
    item = Dataset()
    top = (1 << bits) - 1
    entries = np.round(np.linspace(0, 1, count) ** 1.7 * top).astype(np.uint16)
    vr = "SS" if first < 0 or ds.PixelRepresentation else "US"
    item.add_new("LUTDescriptor", vr, [count % 65536, first, bits])
    big = ds.file_meta.TransferSyntaxUID == uid.ExplicitVRBigEndian
    if data_vr == "OW":
        item.add_new("LUTData", "OW", entries.astype(">u2" if big else "<u2").tobytes())
    else:
        item.add_new("LUTData", "US", entries.tolist())
    return item


def modality_table(ds, values, data_vr="US"):
    # narrower than the pixels on both sides: what lies outside takes the first or last entry
    low, high = int(values.min()), int(values.max())
    count = min((high - low) * 3 // 4, 1000)
    first = low + (high - low) // 8
    ds.ModalityLUTSequence = [table(ds, first, count, 16, data_vr)]
    ds.ModalityLUTSequence[0].ModalityLUTType = "US"


def voi_table(ds, low, high, bits, data_vr="US"):
    count = min((high - low) * 3 // 4, 1000)
    ds.VOILUTSequence = [table(ds, low + (high - low) // 8, count, bits, data_vr)]


def overlay_plane(ds, allocated, position):
    for element, vr, value in [(0x10, "US", ROWS), (0x11, "US", COLUMNS), (0x40, "CS", "G"), (0x50, "SS", [1, 1]),
                               (0x100, "US", allocated), (0x102, "US", position)]:
        ds.add_new(0x60000000 | element, vr, value)


def cases(values):
    """Name, transfer syntax, and what is done to the data set."""
    low, high = int(values.min()), int(values.max())

    def rescaled(ds):
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = "2.5", "-100.25", "US"

    def below_zero(ds):
        ds.RescaleSlope, ds.RescaleIntercept = "1", f"{-1024 - low}"

    def both(*changes):
        return lambda ds: [change(ds) for change in changes]

    def monochrome1(ds):
        ds.PhotometricInterpretation = "MONOCHROME1"

    def inverse(ds):
        ds.PresentationLUTShape = "INVERSE"

    def padding(ds, limit=None):
        # the ambiguous VR is that of the pixels
        vr = "SS" if ds.PixelRepresentation else "US"
        ds.add_new("PixelPaddingValue", vr, low)
        if limit is not None:
            ds.add_new("PixelPaddingRangeLimit", vr, limit)

    def overlay(ds):
        overlay_plane(ds, allocated=1, position=0)
        ds.add_new(0x60003000, "OW", b"\x5a" * (2 * ((ROWS * COLUMNS + 15) // 16)))

    def two_windows(ds):
        window(ds, None)
        ds.WindowCenter, ds.WindowWidth = [ds.WindowCenter, "1"], [ds.WindowWidth, "2"]

    w = lambda function=None, **more: lambda ds: window(ds, function, **more)
    yield "linear", "explicit", w()
    yield "linear-monochrome1", "implicit", both(monochrome1, w("LINEAR"))
    yield "linear-inverse", "explicit", both(inverse, w("LINEAR"))
    yield "linear-width1", "explicit", w("LINEAR", center=(low + high) // 2, width=1)
    yield "exact", "big", w("LINEAR_EXACT")
    yield "exact-monochrome1", "explicit", both(monochrome1, w("LINEAR_EXACT"))
    yield "sigmoid", "explicit", w("SIGMOID")
    yield "sigmoid-inverse", "explicit", both(inverse, w("SIGMOID"))
    yield "two-windows", "explicit", two_windows
    yield "rescale", "explicit", both(rescaled, w())
    yield "rescale-exact", "implicit", both(rescaled, monochrome1, w("LINEAR_EXACT"))
    yield "rescale-sigmoid", "explicit", both(rescaled, w("SIGMOID"))
    yield "modality-table", "explicit", both(lambda ds: modality_table(ds, values), w())
    yield "modality-table-ow", "big", both(lambda ds: modality_table(ds, values, "OW"), w("LINEAR_EXACT"))
    yield "modality-table-implicit", "implicit", both(lambda ds: modality_table(ds, values), w("SIGMOID"))
    yield "voi-table", "explicit", lambda ds: voi_table(ds, low, high, 12)
    yield "voi-table-8", "implicit", both(monochrome1, lambda ds: voi_table(ds, low, high, 8))
    yield "voi-table-ow", "explicit", both(inverse, lambda ds: voi_table(ds, low, high, 16, "OW"))
    yield "both-tables", "explicit", both(lambda ds: modality_table(ds, values), lambda ds: voi_table(ds, 0, 65535, 14))
    yield "table-before-window", "explicit", both(w(), lambda ds: voi_table(ds, low, high, 10))
    # unsigned pixels may become negative, and then the table's first input may be
    yield "rescale-voi-table", "explicit", both(below_zero, lambda ds: voi_table(ds, -1024, high - low - 1024, 12))
    yield "padding", "explicit", both(padding, w())
    yield "padding-monochrome1", "implicit", both(monochrome1, padding, w())
    yield "padding-range", "explicit", both(rescaled, lambda ds: padding(ds, low + (high - low) // 5), w("SIGMOID"))
    yield "overlay", "explicit", both(overlay, w())


def shown(ds, stored, modality):
    """PS3.4 section N.2 from pydicom's output: scaled to 0..1, polarity last, padding black; then to 16 bits."""
    if "VOILUTSequence" in ds:
        descriptor = ds.VOILUTSequence[0].LUTDescriptor
        bits, descriptor[2] = descriptor[2], 16  # of 8 bits, pydicom's index into the table would have 8 bits, too
        position = apply_voi_lut(modality, ds) / ((1 << bits) - 1)
    else:
        voi = apply_voi_lut(modality, ds).astype(np.float64)
        # the range that pydicom scales a window to
        if "ModalityLUTSequence" in ds:
            low, high = 0.0, float((1 << ds.ModalityLUTSequence[0].LUTDescriptor[2]) - 1)
        else:
            low = -(1 << (ds.BitsStored - 1)) if ds.PixelRepresentation else 0
            slope, intercept = float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0))
            low, high = low * slope + intercept, (low + (1 << ds.BitsStored) - 1) * slope + intercept
        position = (voi - low) / (high - low)
    if ds.PhotometricInterpretation == "MONOCHROME1" or ds.get("PresentationLUTShape") == "INVERSE":
        position = 1 - position
    if "PixelPaddingValue" in ds:
        limit = ds.get("PixelPaddingRangeLimit", ds.PixelPaddingValue)
        position[(stored >= ds.PixelPaddingValue) & (stored <= limit)] = 0
    return np.floor(position * 65535 + 0.5).astype("<u2")


def digest(values):
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def reference(name, values, bits, syntax, change):
    ds = data_set(values, bits, syntax)
    ds.values_for_reference = values
    change(ds)
    big = syntax == uid.ExplicitVRBigEndian
    ds.PixelData = values.astype(values.dtype.newbyteorder(">" if big else "<")).tobytes() + b"\0" * (values.nbytes % 2)
    ds["PixelData"].VR = "OW" if values.dtype.itemsize == 2 else "OB"
    path = FOLDER / f"{name}.dcm"
    ds.save_as(path, implicit_vr=syntax == uid.ImplicitVRLittleEndian, little_endian=not big, enforce_file_format=True)
    expect(path, values)


def expect(path, values):
    read = pydicom.dcmread(path)
    stored = read.pixel_array
    assert np.array_equal(stored, values), path
    # wider than the pixels are: pydicom's subtractions would wrap
    modality = apply_modality_lut(stored.astype(np.int32), read)
    references.append({
        "file": path.name,
        "modality_as_little_endian_f64": digest(modality.astype("<f8")),
        "display_as_little_endian_u16": digest(shown(read, stored, modality)),
    })


def embedded_overlay():
    """An overlay in the unused high bits of the pixels themselves, retired since 2004: it is no part of a stored value."""
    values = image(12, False)
    plane = np.random.default_rng(5).integers(0, 2, values.shape).astype(np.uint16)
    ds = data_set(values, 12, uid.ExplicitVRLittleEndian)
    overlay_plane(ds, allocated=16, position=12)
    ds.WindowCenter, ds.WindowWidth = "2048", "3000"
    ds.PixelData = (values | plane << 12).astype("<u2").tobytes()
    ds["PixelData"].VR = "OW"
    path = FOLDER / "overlay-in-pixels-12u.dcm"
    ds.save_as(path, enforce_file_format=True)
    expect(path, values)


def main():
    for bits in (8, 10, 12, 15, 16):
        for signed in (False, True):
            values = image(bits, signed)
            for name, syntax, change in cases(values):
                reference(f"{name}-{bits}{'s' if signed else 'u'}", values, bits, SYNTAXES[syntax], change)
    embedded_overlay()
    versions = f"pydicom {pydicom.__version__}, numpy {np.__version__}"
    text = json.dumps({"made_by": "scripts/make-decode-references", "with": versions, "files": references}, indent=1)
    (FOLDER / "references.json").write_text(text + "\n")
    print(len(references), "files")


main()
