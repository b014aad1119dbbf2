"""One worker's life: its state machine, its executors, hot swap, restarts, recycling."""
