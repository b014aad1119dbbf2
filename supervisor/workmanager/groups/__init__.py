"""Workers that exclude each other."""
