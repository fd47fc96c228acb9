"""The native engine: one C library with the hot loops, built where a compiler is there; without it NumPy does the same work.

`library` finds and calls it, `build` compiles it.
"""
