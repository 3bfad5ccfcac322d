"""Measuring dense and packed models side by side: fresh processes, interleaved, with intervals."""
