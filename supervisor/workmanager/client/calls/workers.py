"""Workers, their versions and their executors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from workmanager.client.call import Call, Method, get, post

if TYPE_CHECKING:
    from workmanager.model.resources import (
        ApplyResult,
        Diff,
        Executor,
        Explanation,
        Operation,
        Page,
        Version,
        Worker,
    )

MERGE_PATCH = "application/merge-patch+json"
PYTHON = "text/x-python"

Manifest = Mapping[str, Any]


class WorkerCalls:
    """Workers, their versions and their executors."""

    @Method
    def create_worker(self, manifest: Manifest, *, start: bool = True) -> Call[Worker]:
        """Create a worker from a manifest or a seed form; its name must be free."""
        off = None if start else False
        return post("CreateWorker", "/v1/workers", "manifest", manifest=manifest, start=off)

    @Method
    def apply_worker(
        self, name: str, manifest: Manifest, *, if_match: str = "", dry_run: bool = False
    ) -> Call[ApplyResult]:
        """Create the worker or change it to what *manifest* says; *if_match* is its etag."""
        fields = {"worker": name, "manifest": manifest, "ifMatch": if_match}
        return Call(
            "ApplyWorker",
            "PUT",
            "/v1/workers/{worker}",
            {**fields, "dryRun": dry_run or None},
            body="manifest",
            may_repeat=not if_match,
        )

    @Method
    def patch_worker(
        self, ref: str, merge_patch: Manifest, *, if_match: str = ""
    ) -> Call[ApplyResult]:
        """Apply a JSON merge patch (RFC 7396) to the worker's manifest."""
        call = post(
            "PatchWorker",
            "/v1/workers/{worker}",
            "patch",
            worker=ref,
            patch=merge_patch,
            if_match=if_match,
        )
        return replace(call, method="PATCH", content_type=MERGE_PATCH)

    @Method
    def get_worker(self, ref: str) -> Call[Worker]:
        """Return one worker."""
        return get("GetWorker", "/v1/workers/{worker}", worker=ref)

    @Method
    def list_workers(
        self,
        *,
        filter: str = "",  # noqa: A002 - the name on the wire (AIP-160)
        order_by: str = "",
        page_size: int = 0,
        page_token: str = "",
    ) -> Call[Page[Worker]]:
        """Return a page of workers; page size 0 leaves it to the service."""
        return get(
            "ListWorkers",
            "/v1/workers",
            filter=filter,
            order_by=order_by,
            page_size=page_size or None,
            page_token=page_token,
        )

    @Method
    def delete_worker(self, ref: str, *, drain: bool = True, if_match: str = "") -> Call[Operation]:
        """Stop the worker and forget it with its inbox."""
        fields = {"worker": ref, "drain": None if drain else False, "ifMatch": if_match}
        return Call("DeleteWorker", "DELETE", "/v1/workers/{worker}", fields)

    @Method
    def start_worker(self, ref: str) -> Call[Worker]:
        """Ask for RUNNING; clears FAILED."""
        return post("StartWorker", "/v1/workers/{worker}:start", worker=ref)

    @Method
    def stop_worker(self, ref: str) -> Call[Worker]:
        """Ask for STOPPED; the inbox keeps filling."""
        return post("StopWorker", "/v1/workers/{worker}:stop", worker=ref)

    @Method
    def pause_worker(self, ref: str) -> Call[Worker]:
        """Ask for PAUSED: executors stay warm, nothing is handed out."""
        return post("PauseWorker", "/v1/workers/{worker}:pause", worker=ref)

    @Method
    def resume_worker(self, ref: str) -> Call[Worker]:
        """Ask for RUNNING after a pause."""
        return post("ResumeWorker", "/v1/workers/{worker}:resume", worker=ref)

    @Method
    def restart_worker(self, ref: str) -> Call[Worker]:
        """Replace the executors by new ones of the same version."""
        return post("RestartWorker", "/v1/workers/{worker}:restart", worker=ref)

    @Method
    def rollback_worker(self, ref: str, *, version: str = "", message: str = "") -> Call[Operation]:
        """Make an earlier version current; by default the one before the current."""
        path = "/v1/workers/{worker}:rollback"
        return post("RollbackWorker", path, "*", worker=ref, version=version, message=message)

    @Method
    def explain_worker(self, ref: str) -> Call[Explanation]:
        """Say in one sentence why the worker is or is not processing."""
        return get("ExplainWorker", "/v1/workers/{worker}:explain", worker=ref)

    @Method
    def diff_worker(self, name: str, manifest: Manifest) -> Call[Diff]:
        """Say what an apply of *manifest* would change."""
        fields = {"worker": name, "manifest": manifest}
        return Call("DiffWorker", "POST", "/v1/workers/{worker}:diff", fields, body="manifest")

    @Method
    def recover(self) -> Call[Operation]:
        """Run the recovery of all workers again."""
        return _recover()

    @Method
    def recover_workers(self) -> Call[Operation]:
        """Run the recovery of all workers again: the seed era's name of `recover`."""
        return _recover()

    @Method
    def create_version(
        self, ref: str, content: bytes | str, media_type: str = PYTHON, *, promote: bool = True
    ) -> Call[Version]:
        """Make a version of new code; *promote* swaps it in while events flow."""
        return _create_version(ref, content, media_type, promote=promote)

    @Method
    def load_code_from_content(
        self, ref: str, content: bytes | str, media_type: str = PYTHON
    ) -> Call[Version]:
        """Give a worker new code: the seed era's name of `create_version`."""
        return _create_version(ref, content, media_type, promote=True)

    @Method
    def load_code_from_url(self, ref: str, url: str) -> Call[ApplyResult]:
        """Give a worker the code at *url*, as the seed era named it: a patch of its manifest."""
        call = post(
            "PatchWorker",
            "/v1/workers/{worker}",
            "patch",
            worker=ref,
            patch={"spec": {"code": {"url": url}}},
        )
        return replace(call, method="PATCH", content_type=MERGE_PATCH)

    @Method
    def list_versions(
        self, ref: str, *, page_size: int = 0, page_token: str = ""
    ) -> Call[Page[Version]]:
        """Return a page of a worker's versions, newest first."""
        return _list_versions(ref, page_size, page_token)

    @Method
    def get_worker_history(
        self, ref: str, *, page_size: int = 0, page_token: str = ""
    ) -> Call[Page[Version]]:
        """Return a page of a worker's versions: the seed era's name of `list_versions`."""
        return _list_versions(ref, page_size, page_token)

    @Method
    def get_version(self, ref: str, version: str) -> Call[Version]:
        """Return one version."""
        path = "/v1/workers/{worker}/versions/{version}"
        return get("GetVersion", path, worker=ref, version=version)

    @Method
    def promote_version(self, ref: str, version: str) -> Call[Operation]:
        """Make a version current."""
        path = "/v1/workers/{worker}/versions/{version}:promote"
        return post("PromoteVersion", path, worker=ref, version=version)

    @Method
    def delete_version(self, ref: str, version: str) -> Call[None]:
        """Forget a version that is not in use."""
        path = "/v1/workers/{worker}/versions/{version}"
        fields = {"worker": ref, "version": version}
        return Call("DeleteVersion", "DELETE", path, fields, pick=lambda _: None)

    @Method
    def get_code(self, ref: str, *, version: str = "") -> Call[tuple[bytes, str]]:
        """Return the code of a version (by default the current) and its media type."""
        call = get("GetCode", "/v1/workers/{worker}/code", worker=ref, version=version)
        return replace(call, pick=lambda answer: (answer["content"], answer["mediaType"]))

    @Method
    def list_executors(
        self, worker: str = "", *, page_size: int = 0, page_token: str = ""
    ) -> Call[Page[Executor]]:
        """Return a page of the executors of one worker or of all."""
        path = "/v1/workers/{worker}/executors" if worker else "/v1/executors"
        return get(
            "ListExecutors",
            path,
            worker=worker,
            page_size=page_size or None,
            page_token=page_token,
        )


def _list_versions(ref: str, page_size: int, page_token: str) -> Call[Any]:
    return get(
        "ListVersions",
        "/v1/workers/{worker}/versions",
        worker=ref,
        page_size=page_size or None,
        page_token=page_token,
    )


def _create_version(
    ref: str, content: bytes | str, media_type: str, *, promote: bool
) -> Call[Version]:
    raw = content.encode() if isinstance(content, str) else content
    call = post(
        "CreateVersion",
        "/v1/workers/{worker}/versions",
        "content",
        worker=ref,
        content=raw,
        media_type=media_type,
        promote=None if promote else False,
    )
    return replace(call, content_type=media_type)


def _recover() -> Call[Operation]:
    return post("Recover", "/v1/workers:recover")
