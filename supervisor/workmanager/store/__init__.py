"""The durable state: SQLite with one writer thread and group commit."""
