"""Recordings of any length: windows, what is heard in them over time, and one explanation stitched from them."""
