"""Running exported files: sessions with the native operators registered."""
