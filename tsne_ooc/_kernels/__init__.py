"""All compiled code: arrays and numbers in, arrays and numbers out.

Every kernel is serial, releases the interpreter's lock and owns a range of rows (see `tsne_ooc._parallel`). Row
pointers, columns and loop bounds are unsigned throughout: LLVM then drops the code for negative indices, which made
the attraction three times faster. All kernels also run as plain Python under ``NUMBA_DISABLE_JIT=1``.

Files are small: Numba keeps what it compiled by the file, and compiles all of a file again after any change to it.
"""
