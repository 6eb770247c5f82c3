"""The part of scripts/bench that needs pydicom: processor time from a file's bytes to its array, by the fastest of its decoders.

    bench_decode.py time RUNS FILE...          one line a file: milliseconds, the decoder
    bench_decode.py jpeg12 SOURCE TARGET       writes SOURCE's pixels as JPEG Extended with 12 bits
"""

import io
import sys
import time

import pydicom
import pydicom.uid as uid


def arrays(data):
    """Every way in which pydicom can decode the file, by name."""
    ds = pydicom.dcmread(io.BytesIO(data))
    if not ds.file_meta.TransferSyntaxUID.is_encapsulated:
        return {"pydicom": lambda: pydicom.dcmread(io.BytesIO(data)).pixel_array}

    def decoding(plugin):
        from pydicom.pixels import get_decoder

        ds = pydicom.dcmread(io.BytesIO(data))
        return get_decoder(ds.file_meta.TransferSyntaxUID).as_array(ds, decoding_plugin=plugin)

    from pydicom.pixels import get_decoder

    plugins = get_decoder(ds.file_meta.TransferSyntaxUID).available_plugins
    return {plugin: lambda plugin=plugin: decoding(plugin) for plugin in plugins}


def took(work):
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1e3


def fastest(data, runs):
    once = {}
    for plugin, work in arrays(data).items():
        try:
            once[plugin] = took(work)
        except Exception:  # a decoder that does not take this file is no peer
            continue
    # the first run of each loads its library: all but the hopeless get another
    best = min(once.values())
    again = {plugin: took(arrays(data)[plugin]) for plugin, first in once.items() if first < 4 * best + 50}
    plugin = min(again, key=again.get)
    return min([again[plugin], *(took(arrays(data)[plugin]) for _ in range(runs - 1))]), plugin


def jpeg12(source, target):
    import imagecodecs
    from pydicom.encaps import encapsulate

    ds = pydicom.dcmread(source)
    stream = imagecodecs.jpeg_encode(ds.pixel_array, level=92, bitspersample=12)
    ds.PixelData = encapsulate([stream + b"\0" * (len(stream) % 2)])
    ds["PixelData"].is_undefined_length = True
    ds["PixelData"].VR = "OB"
    ds.file_meta.TransferSyntaxUID = uid.JPEGExtended12Bit
    ds.save_as(target, enforce_file_format=True)


def main():
    if sys.argv[1] == "jpeg12":
        return jpeg12(*sys.argv[2:])
    for file in sys.argv[3:]:
        with open(file, "rb") as opened:
            milliseconds, plugin = fastest(opened.read(), int(sys.argv[2]))
        print(f"{milliseconds:.3f} {plugin}", flush=True)


main()
