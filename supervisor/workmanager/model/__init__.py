"""The words of the design as types: pure, imported by everyone."""
