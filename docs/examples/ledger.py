"""Adds up the receipts it sees; the sum lives as long as this process does."""

import json

total = 0


def process(event, context):
    global total  # noqa: PLW0603 - one process, one event at a time
    total += event.data["total"]
    line = {"order": event.extensions["causationid"], "receipt": event.data, "sum": total}
    context.logger.info("%s", json.dumps(line))
