"""What an operator's machine asks of the service: systemd's protocol, and a reload."""
