"""Names of persons out of whatever type a table or file has for them."""

import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute

from ops.errors import ConfigurationError

pc: Any = pyarrow.compute
_EXACT = 1 << 53
"""Whole numbers from here on are not all different as floating-point numbers."""


def identity_text(value: Any) -> str | None:
    """A person's name as text; None, a person of its own, for nothing, empty text and NaN.

    Raises:
        ValueError: a number that is not whole or too large to be told from others, or what is no text or number.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float | Decimal):
        if math.isnan(value):
            return None
        if not math.isfinite(value) or value != int(value) or (isinstance(value, float) and abs(value) > _EXACT):
            raise ValueError(f"{value!r} is no exact whole number")
        return str(int(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{value!r} is neither text nor a number")


def identity_texts(place: str, column: pa.Array) -> list[str | None]:
    """The same for a column.

    Args:
        place: names the column in messages.
        column: text, numbers or categories of them.

    Raises:
        ConfigurationError: a value that cannot be a person's name.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_null(column.type):
            return [text or None for text in column.to_pylist()]
        return [identity_text(value) for value in column.to_pylist()]
    except ValueError as error:
        raise ConfigurationError(f"{place}: expected text or whole numbers that name persons, found {error}") from error
