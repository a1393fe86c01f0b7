"""Ids and file names made from whatever users call their files.

Nothing of a user's name reaches a path unchanged: what is kept of it is ASCII letters, digits, `_` and `-`, and sixteen
digits of a hash follow. So no name leaves the output (`../x`, an absolute path), is too long, means a device (`CON`)
or meets another one on a disk that ignores case or normalises Unicode.
"""

import re
import unicodedata
from hashlib import blake2b

SLUG_LENGTH = 40


def slug(text: str) -> str:
    """A readable ASCII rendering of letters, digits, `_` and `-`, at most 40 long; `item` where nothing remains."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    cleaned = re.sub(r"[^A-Za-z0-9_]+", "-", ascii_text).strip("-_")[:SLUG_LENGTH].strip("-_")
    return cleaned or "item"


def short_hash(text: str) -> str:
    """Sixteen hexadecimal digits of BLAKE2b; any Python string, undecodable file names included."""
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def stable_id(key: str, readable: str) -> str:
    """An id that depends on `key` alone, begins with a readable part and is safe as a file name everywhere."""
    return f"{slug(readable)}-{short_hash(key)}"
