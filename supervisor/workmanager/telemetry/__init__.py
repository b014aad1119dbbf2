"""Logs, traces, changes, and what processes use."""
