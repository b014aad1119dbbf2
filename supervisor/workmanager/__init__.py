"""WorkManager: event-driven workers in isolated, supervised processes."""

__version__ = "0.1.0"
