"""The parent's side of executor processes: spawning, channels, one executor's life."""
