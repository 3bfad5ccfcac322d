"""The index of an archive read: JSON expanded and parsed, every rule of it proved before use."""

from __future__ import annotations

from ...errors import CorruptFileError
from ..files.budget import INDEX_BYTES, INDEX_TIMES
from ..files.container.strict_json import strict_json
from .index import COLUMNS, Index
from .index_rules import check_pieces, check_tensors, read_columns, require
from .tree import from_json

INDEX_LIMIT = 1 << 28


def parse(text: bytes, where: str) -> Index:
    """The index in that JSON, every rule of it proved.

    Raises
    ------
    CorruptFileError
        Naming the rule that is broken.
    """
    raw = strict_json(text, f"{where}: index")
    require(isinstance(raw, dict) and set(raw) == {"tree", "metadata", "notes", *COLUMNS}, where, "keys")
    metadata, notes = raw["metadata"], raw["notes"]
    good = isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())
    require(good and isinstance(notes, list) and all(isinstance(n, str) for n in notes), where, "notes")
    columns = {name: read_columns(raw[name], cls, f"{where}: index {name}") for name, cls in COLUMNS.items()}
    tensors = columns["tensors"]
    try:
        tree = from_json(raw["tree"], len(tensors.dtype))
    except CorruptFileError as error:
        raise CorruptFileError(f"{where}: {error}") from None
    index = Index(tree, metadata, notes, **columns)
    check_tensors(index, where)
    check_pieces(index, where)
    return index


def expand(stored: bytes, where: str) -> bytes:
    """The index's JSON, refused before decoding if it says it is larger than any index."""
    import zstandard

    try:
        size = zstandard.frame_content_size(stored)
        most = min(INDEX_LIMIT, INDEX_BYTES + INDEX_TIMES * len(stored))
        if not 0 < size <= most:
            raise CorruptFileError(f"{where}: index says it is {size} bytes")
        return zstandard.ZstdDecompressor().decompress(stored, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CorruptFileError(f"{where}: index is broken: {error}") from None
