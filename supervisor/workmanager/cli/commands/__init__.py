"""The commands, a module for each noun; imported when one of them is named."""
