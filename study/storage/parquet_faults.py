"""The exceptions that a damaged Parquet file ends in, for whoever reads one that anybody wrote."""

import pyarrow as pa

PARQUET_FAULTS = (
    pa.ArrowException,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
)
"""Exceptions that pyarrow and pandas raise on a file some of whose bytes have changed.

Pyarrow documents its own alone. Of 67,578 damaged files of four kinds (pyarrow 26.0, pandas 3.1)
others ended in OSError, ValueError (damaged JSON or text), KeyError and TypeError, from what pandas
keeps beside the columns. The rest were not seen there: they are what code can raise that takes
damaged metadata for its own, and a damaged length may ask for any amount of memory.
"""
