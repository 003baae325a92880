"""Run llama.cpp's quantizer once: llama_quantizer.py SOURCE TARGET FTYPE THREADS [IMATRIX.safetensors].

A script, not a module of the package: it imports llama_cpp and numpy alone.
"""

import ctypes
import sys


def main(source: str, target: str, ftype: str, threads: str, imatrix: str | None = None) -> int:
    """Quantize `source` to `target` and return llama.cpp's status, 0 for success."""
    import llama_cpp

    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = int(ftype)
    parameters.nthread = int(threads)
    if imatrix:
        entries, kept = importance_entries(llama_cpp, imatrix)
        parameters.imatrix = ctypes.cast(entries, type(parameters.imatrix))
    return llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(parameters))


def importance_entries(llama_cpp, path: str) -> tuple[ctypes.Array, list]:
    """Return the array of llama_model_imatrix_data, its last entry empty, and what must stay alive."""
    from safetensors.numpy import load_file

    vectors = load_file(path)
    entries = (llama_cpp.llama_model_imatrix_data * (len(vectors) + 1))()
    kept = []
    for entry, (name, values) in zip(entries, sorted(vectors.items()), strict=False):
        kept.append((name.encode(), values))
        entry.name = kept[-1][0]
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entry.size = values.size
    return entries, kept


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
