"""A worker's code as bytes: its digest, and how it enters and leaves a specification."""

import hashlib

from workmanager.errors import CodeError, Reason
from workmanager.model.spec_worker import Code, WorkerSpec, decode_content


def digest_of(content: bytes) -> str:
    """Return `sha256:<hex>` of *content*."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def check_digest(content: bytes, digest: str) -> str:
    """Return the digest of *content*; it must be *digest*, unless that is empty.

    Raises:
        CodeError: DIGEST_MISMATCH, naming both.
    """
    found = digest_of(content)
    if digest and digest != found:
        raise CodeError(
            f"the code has digest {found}, the manifest asks for {digest}; "
            "correct code.digest, or find out who changed the code",
            reason=Reason.DIGEST_MISMATCH,
            metadata={"expected": digest, "found": found},
        )
    return found


def take_code(spec: WorkerSpec) -> tuple[WorkerSpec, bytes | None]:
    """Cut inline code out of *spec*: the specification that is stored, and the bytes.

    Returns:
        The specification with `code.digest` set and no content, and the code; None where the code
        comes from a URL or is known by its digest.

    Raises:
        CodeError: DIGEST_MISMATCH with a digest the manifest pins.
    """
    if not spec.code.content:
        return spec, None
    content = decode_content(spec.code.content)
    return put_code(spec, content), content


def put_code(spec: WorkerSpec, content: bytes) -> WorkerSpec:
    """Return *spec* naming *content* (fetched, or uploaded) by its digest.

    Raises:
        CodeError: DIGEST_MISMATCH with a digest that *spec* pins.
    """
    digest = check_digest(content, spec.code.digest)
    return spec.model_copy(update={"code": Code(url=spec.code.url, digest=digest)})
