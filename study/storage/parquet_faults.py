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

Pyarrow documents its own alone. The metadata of pandas in the file is code's input too: a name that
is none ends in LookupError or AttributeError, a type that is not supported in NotImplementedError
and nesting in RecursionError, both of which are RuntimeErrors.
"""
