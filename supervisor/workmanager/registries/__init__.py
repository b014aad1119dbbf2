"""Where worker definitions live."""
