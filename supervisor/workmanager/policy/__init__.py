"""Decisions as functions of values and a clock: retry, restart, rate, admission, window."""
