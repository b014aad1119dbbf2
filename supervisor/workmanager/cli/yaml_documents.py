"""YAML files of several documents, each read as the service reads a manifest that is sent as YAML.

One reader for both, so that `no` and `2026-11-21` mean the same wherever a manifest is read.
"""

from __future__ import annotations

import yaml

from workmanager.errors import InvalidArgumentError
from workmanager.model.yaml_values import load_yaml


def load_documents(content: bytes) -> list[object]:
    """Read all documents but the empty ones.

    Raises:
        ValueError: It is no YAML, or holds what is no JSON value; the message has line and column.
    """
    try:
        text = content.decode()
        documents = [load_yaml(part.encode()) for part in _parts(text)]
    except (yaml.YAMLError, InvalidArgumentError) as error:
        raise ValueError(str(error)) from error
    return [document for document in documents if document is not None]


def _parts(text: str) -> list[str]:
    """Cut *text* into documents, each with as many lines before it as it has in the file."""
    events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    starts = [
        event.start_mark
        for event in events
        if isinstance(event, yaml.DocumentStartEvent) and event.start_mark is not None
    ]
    ends = [*(mark.index for mark in starts[1:]), len(text)]
    spans = zip(starts, ends, strict=False)  # an empty file has an end and no start
    return ["\n" * mark.line + text[mark.index : end] for mark, end in spans]
