"""The one place where what a library or the system raises while a file is read becomes ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import CorruptFileError, InputError, SparseExportError
from ...text import shown


@contextmanager
def ours(path: object, what: str = "") -> Iterator[None]:
    """Turn every foreign exception of the block into one of ours, one line with the file's name.

    Parameters
    ----------
    what : str
        What could not be done; by default that the file cannot be read.

    Raises
    ------
    InputError
        For what the system refuses.
    CorruptFileError
        For everything that a library raises: the bytes are the file's, so the failure is too.
    """
    where = shown(path)
    try:
        yield
    except SparseExportError:
        raise
    except MemoryError as error:
        raise CorruptFileError(f"{where}: reading it takes more memory than there is") from error
    except RecursionError as error:
        raise CorruptFileError(f"{where}: nested too deeply to be read") from error
    except OSError as error:
        raise InputError(f"{where}: cannot be read: {shown(error.strerror or error)}") from error
    except Exception as error:
        text = " ".join(str(error).split())
        reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
        raise CorruptFileError(f"{where}: {what or 'damaged'} ({shown(reason)})") from error
