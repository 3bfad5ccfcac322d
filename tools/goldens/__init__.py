"""Golden files: written once for every format and the archive, decoded for ever."""
