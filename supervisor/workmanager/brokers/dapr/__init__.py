"""The broker `dapr`: events come from and go to a sidecar, and so any broker that Dapr knows.

    subscriptions -> ingress -> inboxes (commit) -> SUCCESS
    outputs, publishers -> outbox (commit) -> publisher -> sidecar

Imported only where the backend is Dapr, see `workmanager.sidecar`.
"""
