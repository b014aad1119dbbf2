"""Inbox -> executor -> outcome: the hot path, in batches."""
