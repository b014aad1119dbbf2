"""What the sandbox raises when it cannot be built."""

from __future__ import annotations


class SandboxError(Exception):
    """A layer that the profile demands could not be applied; nothing of the user's may run.

    Attributes:
        layer: Name of the layer, one of `records.LAYERS` or "profile".
        detail: What failed, in the kernel's words where it has any.
    """

    def __init__(self, layer: str, detail: str) -> None:
        super().__init__(f"sandbox layer {layer!r}: {detail}")
        self.layer = layer
        self.detail = detail
