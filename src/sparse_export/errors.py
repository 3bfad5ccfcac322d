"""The families of failure, one class a cause, and the exit code each one becomes.

A message says what is wrong, where (file, tensor, byte), and the next step. `cli` is the one place
that turns these into exit codes; nothing else in the package calls `sys.exit`.
"""

from __future__ import annotations


class SparseExportError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 70


class InputError(SparseExportError):
    """The request or the given file cannot be used as it is (usage, bad option, missing file)."""

    exit_code = 2


class CorruptFileError(InputError):
    """A file breaks a rule of its own format; the message names the rule and the place."""


class UnsupportedError(InputError):
    """The input is valid, but holds something this version cannot handle."""


class VerificationError(SparseExportError):
    """What was written does not compute what the source computes."""

    exit_code = 1


class BudgetError(SparseExportError):
    """A budget given by the user (size, latency, memory) was exceeded."""

    exit_code = 1


class MissingDependencyError(SparseExportError):
    """The environment lacks something: a package, the native library, a device."""

    exit_code = 3
