"""The part of make-decode-references that needs pydicom. Argument: the folder to fill."""

import hashlib
import io
import json
import pathlib
import subprocess
import sys
import tempfile

import imagecodecs
import numpy as np
import pydicom
import pydicom.uid as uid
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame

FOLDER = pathlib.Path(sys.argv[1])
# both odd, so that a line and a pair of lines never fill a whole number of words
ROWS, COLUMNS = 37, 53
# pydicom knows neither the syntax nor a decoder for it: these files are read back with libjxl
JPEG_XL_LOSSLESS = uid.UID("1.2.840.10008.1.2.4.110")
references = []


def image(bits, signed):
    """A slope, an edge, the whole range of the bits, and noise: every category of a difference occurs."""
    random = np.random.default_rng(bits * 2 + signed)
    y, x = np.mgrid[0:ROWS, 0:COLUMNS]
    top = (1 << bits) - 1
    values = (x / COLUMNS * 0.6 + y / ROWS * 0.2) * top + random.normal(0, top * 0.02, (ROWS, COLUMNS))
    values[10:20, 30:40] = top
    values[20:30, 5:15] = 0
    values[30:, 40:] = random.integers(0, top + 1, (ROWS - 30, COLUMNS - 40))
    values = np.clip(values, 0, top).astype(np.int64)
    if signed:
        values -= 1 << (bits - 1)
    allocated = 8 if bits == 8 else 16
    return values.astype(np.dtype(f"{'i' if signed else 'u'}{allocated // 8}"))


def data_set(values, bits, syntax, **more):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "2.25.1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.2", "2.25.3"
    ds.PatientName, ds.PatientID, ds.Modality = "REFERENCE^DECODE", "R", "DX"
    ds.Rows, ds.Columns, ds.SamplesPerPixel = ROWS, COLUMNS, 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated = values.dtype.itemsize * 8
    ds.BitsStored, ds.HighBit = bits, bits - 1
    ds.PixelRepresentation = int(values.dtype.kind == "i")
    for name, value in more.items():
        setattr(ds, name, value)
    return ds


def keep(name, values, path, exact=True):
    """Reads a file back, and writes down what is expected of it."""
    ds = pydicom.dcmread(path)
    if ds.file_meta.TransferSyntaxUID == JPEG_XL_LOSSLESS:
        read = imagecodecs.jpegxl_decode(get_frame(ds.PixelData, 0, number_of_frames=1))
    else:
        read = ds.pixel_array
    assert not exact or np.array_equal(read, values), name
    expect(path.name, read)


def expect(name, values, frame=1):
    digest = hashlib.sha256(values.astype("<i4").tobytes()).hexdigest()
    references.append({"file": name, "frame": frame, "sha256_of_stored_values_as_little_endian_i32": digest})


def native(name, values, bits, syntax):
    # pydicom writes what it is given: turn the bytes round for big endian, as pixel data of words wants it
    ds = data_set(values, bits, syntax)
    big = syntax == uid.ExplicitVRBigEndian
    ds.PixelData = values.astype(values.dtype.newbyteorder(">" if big else "<")).tobytes() + b"\0" * (values.nbytes % 2)
    ds["PixelData"].VR = "OW" if values.dtype.itemsize == 2 else "OB"
    path = FOLDER / f"{name}.dcm"
    ds.save_as(path, implicit_vr=syntax == uid.ImplicitVRLittleEndian, little_endian=not big, enforce_file_format=True)
    keep(name, values, path)


def compressed(name, values, bits, syntax, stream, exact=True, fragments=1):
    ds = data_set(values, bits, syntax)
    stream = stream + b"\0" * (len(stream) % 2)
    ds.PixelData = encapsulate([stream], fragments_per_frame=fragments)
    ds["PixelData"].is_undefined_length = True
    ds["PixelData"].VR = "OB"
    path = FOLDER / f"{name}.dcm"
    if syntax == JPEG_XL_LOSSLESS:
        # pydicom writes no syntax that it does not know; another one of the same length stands in its place
        ds.file_meta.TransferSyntaxUID = uid.HTJ2KLossless
    ds.save_as(path, enforce_file_format=True)
    if syntax == JPEG_XL_LOSSLESS:
        path.write_bytes(path.read_bytes().replace(uid.HTJ2KLossless.encode(), syntax.encode(), 1))
    keep(name, values, path, exact)


def frames(name, values, bits, syntax, streams, fragments=1):
    ds = data_set(values, bits, syntax, NumberOfFrames=len(values))
    if streams is None:
        ds.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
        ds["PixelData"].VR = "OB"
    else:
        streams = [stream + b"\0" * (len(stream) % 2) for stream in streams]
        ds.PixelData = encapsulate(streams, fragments_per_frame=fragments, has_bot=fragments > 1)
        ds["PixelData"].is_undefined_length = True
        ds["PixelData"].VR = "OB"
    path = FOLDER / f"{name}.dcm"
    ds.save_as(path, enforce_file_format=True)
    assert np.array_equal(pydicom.dcmread(path).pixel_array, values), name
    for number, frame in enumerate(values, 1):
        expect(path.name, frame, number)


def jpeg(name, bits, syntax, stream):
    values = imagecodecs.jpeg_decode(stream)
    ds = data_set(values, bits, syntax)
    ds.PixelData = encapsulate([stream + b"\0" * (len(stream) % 2)])
    ds["PixelData"].is_undefined_length = True
    ds["PixelData"].VR = "OB"
    path = FOLDER / f"{name}.dcm"
    ds.save_as(path, enforce_file_format=True)
    # libjpeg, the one decoder that pydicom has for 12 bits, rounds otherwise
    assert np.abs(pydicom.dcmread(path).pixel_array.astype(int) - values).max() <= 2, name
    expect(path.name, values)


def open_jpeg(values, bits, options):
    """The codestream that opj_compress of OpenJPEG makes."""
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        plain, stream = work / "plain.rawl", work / "stream.j2k"
        plain.write_bytes(values.astype("<u2").tobytes())
        tool = ["opj_compress", "-i", str(plain), "-o", str(stream), "-F", f"{COLUMNS},{ROWS},1,{bits},u"]
        subprocess.run(tool + options.split(), check=True, stdout=subprocess.DEVNULL)
        return stream.read_bytes()


def rle(values):
    from pydicom.pixels import get_encoder

    ds = data_set(values, 8 * values.dtype.itemsize, uid.ExplicitVRLittleEndian)
    return get_encoder(uid.RLELossless).encode(values, encoding_plugin="pydicom", **options(ds))


def options(ds):
    return {
        "rows": ds.Rows, "columns": ds.Columns, "samples_per_pixel": 1, "number_of_frames": 1,
        "bits_allocated": ds.BitsAllocated, "bits_stored": ds.BitsStored,
        "pixel_representation": ds.PixelRepresentation, "photometric_interpretation": "MONOCHROME2",
    }


def jpeg_ls(values, bits, syntax, **more):
    ds = data_set(values, bits, uid.ExplicitVRLittleEndian)
    ds.PixelData = values.tobytes()
    ds.compress(syntax, values, encoding_plugin="pyjpegls", generate_instance_uid=False, **more)
    return get_frame(ds.PixelData, 0, number_of_frames=1)


def main():
    for bits in (8, 10, 12, 15, 16):
        for signed in (False, True):
            values = image(bits, signed)
            label = f"{bits}{'s' if signed else 'u'}"
            native(f"explicit-{label}", values, bits, uid.ExplicitVRLittleEndian)
            native(f"implicit-{label}", values, bits, uid.ImplicitVRLittleEndian)
            native(f"big-{label}", values, bits, uid.ExplicitVRBigEndian)
            native(f"deflated-{label}", values, bits, uid.DeflatedExplicitVRLittleEndian)
            compressed(f"rle-{label}", values, bits, uid.RLELossless, rle(values))
            pattern = values.astype(np.int64) & ((1 << bits) - 1)
            # the stream has no sign: it holds the bits as they are
            unsigned = pattern.astype(np.uint8 if bits == 8 else np.uint16)
            stream = imagecodecs.ljpeg_encode(unsigned, bitspersample=bits)
            compressed(f"jpeg-lossless-{label}", values, bits, uid.JPEGLosslessSV1, stream)
            stream = jpeg_ls(values, bits, uid.JPEGLSLossless)
            compressed(f"jpeg-ls-{label}", values, bits, uid.JPEGLSLossless, stream)
            stream = bytes(imagecodecs.jpeg2k_encode(values, level=0, codecformat="j2k", bitspersample=bits, reversible=True))
            compressed(f"jpeg2000-{label}", values, bits, uid.JPEG2000Lossless, stream)
            stream = imagecodecs.htj2k_encode(values)
            compressed(f"htj2k-{label}", values, bits, uid.HTJ2KLossless, bytes(stream))
            if not signed:
                depth = np.uint8 if bits == 8 else np.uint16
                stream = imagecodecs.jpegxl_encode(values.astype(depth), lossless=True, bitspersample=bits)
                compressed(f"jpeg-xl-{label}", values, bits, JPEG_XL_LOSSLESS, bytes(stream))
    for predictor in range(1, 8):
        for bits in (8, 12, 16):
            values = image(bits, False)
            with tempfile.TemporaryDirectory() as work:
                work = pathlib.Path(work)
                plain, lossless = work / "plain.dcm", FOLDER / f"jpeg-lossless-predictor{predictor}-{bits}u.dcm"
                ds = data_set(values, bits, uid.ExplicitVRLittleEndian)
                ds.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
                ds["PixelData"].VR = "OW" if values.dtype.itemsize == 2 else "OB"
                ds.save_as(plain, enforce_file_format=True)
                tool = ["dcmcjpeg", "+el", "+sv", str(predictor), "+un", str(plain), str(lossless)]
                subprocess.run(tool, check=True)
                keep(lossless.stem, values, lossless)
    for near, bits in ((1, 8), (2, 12), (7, 16), (40, 12)):
        values = image(bits, False)
        stream = jpeg_ls(values, bits, uid.JPEGLSNearLossless, jls_error=near)
        compressed(f"jpeg-ls-near{near}-{bits}u", values, bits, uid.JPEGLSNearLossless, stream, exact=False)
    values = image(12, False)
    values[:, 20:35] = 700  # long runs, and lines that end in one
    values[25:, 10:] = 701
    stream = jpeg_ls(values, 12, uid.JPEGLSLossless)
    compressed("jpeg-ls-runs", values, 12, uid.JPEGLSLossless, stream)
    values = image(12, False)
    stream = imagecodecs.ljpeg_encode(values, bitspersample=12)
    compressed("jpeg-lossless-fragments", values, 12, uid.JPEGLosslessSV1, stream, fragments=3)
    # all that the standard leaves an encoder free to do, lossless
    layers = "-r 8,3,1"
    for name, options in {
        "tiles": "-n 3 -t 17,11", "tile-parts": f"-n 3 -t 32,32 -TP R {layers}", "offsets": "-n 3 -d 3,5 -T 2,1 -t 19,23",
        "blocks": "-b 4,4", "flat-blocks": "-b 256,16", "no-levels": "-n 1", "six-levels": "-n 6",
        "precincts": f"-n 3 -c [16,16],[8,8] -p RPCL {layers}",
        "lrcp": f"-p LRCP {layers}", "rlcp": f"-p RLCP {layers}", "rpcl": f"-p RPCL {layers}",
        "pcrl": f"-n 3 -p PCRL -c [16,32],[16,16],[8,8] {layers}", "cprl": f"-n 3 -p CPRL -c [32,16],[16,16],[8,8] {layers}",
        "markers": f"-SOP -EPH {layers}", "region": "-ROI c=0,U=3",
        "bypass": "-M 1", "reset": "-M 2", "terminate": "-M 4", "causal": "-M 8", "symbols": "-M 32",
        "all-styles": f"-M 63 {layers}",
    }.items():
        values = image(12, False)
        stream = open_jpeg(values, 12, options)
        compressed(f"jpeg2000-{name}", values, 12, uid.JPEG2000Lossless, stream)
    # several frames; the odd size of 8 bits puts the second one at an odd place
    values = np.stack([image(8, False), image(8, True).astype(np.uint8), image(8, False)[::-1]])
    frames("frames-explicit", values, 8, uid.ExplicitVRLittleEndian, None)
    frames("frames-rle", values, 8, uid.RLELossless, [rle(frame) for frame in values])
    values = np.stack([image(12, False), image(12, False)[::-1]])
    streams = [jpeg_ls(np.ascontiguousarray(frame), 12, uid.JPEGLSLossless) for frame in values]
    frames("frames-fragments", values, 12, uid.JPEGLSLossless, streams, fragments=2)
    # lossy: what libjpeg-turbo makes of the stream counts, in its accurate integer method
    for bits, quality in ((8, 50), (8, 90), (8, 100), (12, 50), (12, 90), (12, 100)):
        stream = imagecodecs.jpeg_encode(image(bits, False), level=quality, bitspersample=bits)
        syntax = uid.JPEGBaseline8Bit if bits == 8 else uid.JPEGExtended12Bit
        jpeg(f"jpeg-{bits}u-quality{quality}", bits, syntax, stream)
    with io.BytesIO() as out:
        Image.fromarray(image(8, False)).save(out, "JPEG", quality=90, restart_marker_rows=1)
        jpeg("jpeg-8u-restarts", 8, uid.JPEGBaseline8Bit, out.getvalue())
    versions = f"pydicom {pydicom.__version__}, imagecodecs {imagecodecs.__version__}, dcmcjpeg of DCMTK, OpenJPEG"
    text = json.dumps({"made_by": "scripts/make-decode-references", "with": versions, "files": references}, indent=1)
    (FOLDER / "references.json").write_text(text + "\n")
    print(len(references), "files")


main()
