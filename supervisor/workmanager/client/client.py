"""The synchronous client: one method for each method of the service.

Every method raises `ProblemError` where the service refuses, and the other errors of
`workmanager.client.problems` where no answer came. Resources are plain dictionaries in the shape of
`workmanager.model.resources`; a page is `{"items": [...], "nextPageToken": ""}`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from workmanager.client import wire
from workmanager.client.events import BATCH_MEDIA_TYPE, EVENT_MEDIA_TYPE, new_event
from workmanager.client.session import DEFAULT_TIMEOUT_S, Call, Query, Session
from workmanager.client.target import Target, default_target, load_token, parse_target

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from types import TracebackType

Json = dict[str, Any]

INVOKE_MARGIN_S = 5.0  # a synchronous invoke answers at its own time limit; wait a little longer
MAX_BATCH = 1000  # events of one publish call; the service commits them together


class WorkManagerClient:
    """Calls a WorkManager service; a context manager that closes its connection.

    Args:
        target: A Unix socket's path or an http(s) URL; by default where the service of this machine
            is found, see `workmanager.client.target.default_target`.
        token: Bearer token; by default the one of this machine's state folder, if readable.
        timeout_s: The longest silence of the service, in seconds, before a call gives up.
    """

    def __init__(
        self,
        target: str | Target | None = None,
        *,
        token: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        where = parse_target(target) if isinstance(target, str) else target or default_target()
        token = load_token(where) if token is None else token
        self._session = Session(where, token=token, timeout_s=timeout_s)

    @property
    def target(self) -> Target:
        """Where the calls go."""
        return self._session.target

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        self._session.close()

    # Workers

    def create_worker(self, manifest: Mapping[str, Any], *, start: bool = True) -> Json:
        """Create a worker; one with the same name is left alone and the call refused."""
        call = Call(
            "POST",
            "/v1/workers",
            query={"start": None if start else False},
            body=wire.encode(manifest),
            headers=wire.idempotency_key(),
            is_idempotent=True,
        )
        return self._session.ask(call)

    def apply_worker(
        self, name: str, manifest: Mapping[str, Any], *, if_match: str = "", dry_run: bool = False
    ) -> Json:
        """Create or change a worker; returns `{"change": ..., "worker": ...}`."""
        call = Call(
            "PUT",
            wire.worker_path(name),
            query={"dryRun": dry_run or None},
            body=wire.encode(manifest),
            headers=wire.if_match(if_match),
        )
        return self._session.ask(call)

    def patch_worker(self, ref: str, patch: Mapping[str, Any], *, if_match: str = "") -> Json:
        """Change a worker by a JSON merge patch (RFC 7396)."""
        call = Call(
            "PATCH",
            wire.worker_path(ref),
            body=wire.encode(patch),
            content_type="application/merge-patch+json",
            headers=wire.if_match(if_match),
        )
        return self._session.ask(call)

    def get_worker(self, ref: str) -> Json:
        """Return a worker, by name or uid."""
        return self._get(wire.worker_path(ref))

    def list_workers(
        self, *, filter_text: str = "", order_by: str = "", page_size: int = 0, page_token: str = ""
    ) -> Json:
        """Return a page of workers."""
        paging = wire.paging(page_size, page_token)
        return self._get("/v1/workers", filter=filter_text, orderBy=order_by, **paging)

    def delete_worker(self, ref: str, *, drain: bool = True, if_match: str = "") -> Json:
        """Delete a worker; returns the operation that does it."""
        query = {"drain": None if drain else False}
        call = Call("DELETE", wire.worker_path(ref), query=query, headers=wire.if_match(if_match))
        return self._session.ask(call)

    def start_worker(self, ref: str) -> Json:
        """Ask for a worker to run."""
        return self._verb(ref, "start")

    def stop_worker(self, ref: str) -> Json:
        """Ask for a worker to drain and stop; its inbox keeps filling."""
        return self._verb(ref, "stop")

    def pause_worker(self, ref: str) -> Json:
        """Ask for a worker to take no tasks; its executors stay warm."""
        return self._verb(ref, "pause")

    def resume_worker(self, ref: str) -> Json:
        """Ask for a paused worker to go on."""
        return self._verb(ref, "resume")

    def restart_worker(self, ref: str) -> Json:
        """Ask for a worker's executors to be replaced."""
        return self._post(f"{wire.worker_path(ref)}:restart")

    def rollback_worker(self, ref: str, *, version: str = "", message: str = "") -> Json:
        """Make an earlier version current; returns the operation that does it."""
        body = wire.given({"version": version, "message": message})
        return self._post(f"{wire.worker_path(ref)}:rollback", body)

    def explain_worker(self, ref: str) -> Json:
        """Say why a worker is or is not processing."""
        return self._get(f"{wire.worker_path(ref)}:explain")

    def diff_worker(self, name: str, manifest: Mapping[str, Any]) -> Json:
        """Return what an apply would change."""
        return self._post(f"{wire.worker_path(name)}:diff", manifest, may_repeat=True)

    def recover(self) -> Json:
        """Run recovery again; returns the operation that does it."""
        return self._post("/v1/workers:recover")

    def invoke(
        self,
        ref: str,
        event: Mapping[str, Any],
        *,
        mode: str = "sync",
        version: str = "",
        timeout_s: float = 30.0,
    ) -> Json:
        """Hand one event to a worker; *mode* is `sync`, `async` or `dryRun`."""
        call = Call(
            "POST",
            f"{wire.worker_path(ref)}:invoke",
            query={"mode": mode, "version": version, "timeoutS": timeout_s},
            body=wire.encode(event),
            content_type=EVENT_MEDIA_TYPE,
            timeout_s=timeout_s + INVOKE_MARGIN_S,
        )
        return self._session.ask(call)

    # Versions, executors, logs

    def create_version(
        self, ref: str, content: bytes, media_type: str, *, promote: bool = True
    ) -> Json:
        """Hand a worker new code: a hot swap, unless *promote* is false."""
        call = Call(
            "POST",
            f"{wire.worker_path(ref)}/versions",
            query={"promote": None if promote else False},
            body=content,
            content_type=media_type,
            headers=wire.idempotency_key(),
            is_idempotent=True,
        )
        return self._session.ask(call)

    def list_versions(self, ref: str, *, page_size: int = 0, page_token: str = "") -> Json:
        """Return a page of a worker's versions, the newest first."""
        return self._get(f"{wire.worker_path(ref)}/versions", **wire.paging(page_size, page_token))

    def get_version(self, ref: str, version: str) -> Json:
        """Return one version of a worker."""
        return self._get(wire.version_path(ref, version))

    def promote_version(self, ref: str, version: str) -> Json:
        """Make a version current; returns the operation that does it."""
        return self._post(f"{wire.version_path(ref, version)}:promote")

    def delete_version(self, ref: str, version: str) -> None:
        """Forget a version that is not in use."""
        self._session.ask(Call("DELETE", wire.version_path(ref, version)))

    def get_code(self, ref: str, *, version: str = "") -> tuple[bytes, str]:
        """Return a worker's code and its media type."""
        call = Call(
            "GET", f"{wire.worker_path(ref)}/code", {"version": version}, headers={"accept": "*/*"}
        )
        response = self._session.send(call)
        return response.body, response.headers.get("content-type", "")

    def list_executors(self, worker: str = "", *, page_size: int = 0, page_token: str = "") -> Json:
        """Return a page of the executors of one worker, or of all."""
        path = f"{wire.worker_path(worker)}/executors" if worker else "/v1/executors"
        return self._get(path, **wire.paging(page_size, page_token))

    def logs(self, ref: str = "", *, since_seq: int = 0, tail: int = 100) -> list[Json]:
        """Return the last *tail* kept lines (0: all) of one worker, or of all, oldest first."""
        page = self._get(wire.logs_path(ref), sinceSeq=since_seq, tail=tail)
        lines: list[Json] = page["items"]
        return lines

    def follow_logs(self, ref: str = "", *, since_seq: int = 0, tail: int = 100) -> Generator[Json]:
        """Yield the last lines of one worker, or of all, then each as it comes; close it to end.

        With *tail* 0 these are all lines behind *since_seq* that are kept.
        """
        from workmanager.client.logs import follow

        query: Query = {"follow": True, "sinceSeq": since_seq, "tail": tail}
        return follow(self._session, Call("GET", wire.logs_path(ref), query))

    # Events, tasks, dead letters

    def publish(self, topic: str, events: Sequence[Mapping[str, Any]]) -> Json:
        """Publish events (CloudEvents JSON format); returns once they are committed.

        Events without an id get one here, so that a lost answer can be asked for again: the workers
        know the event by its source and id.
        """
        batch = [event if event.get("id") else new_event() | dict(event) for event in events]
        call = Call(
            "POST",
            f"/v1/topics/{wire.quote(topic)}:publish",
            body=wire.encode(batch),
            content_type=BATCH_MEDIA_TYPE,
            is_idempotent=True,
        )
        return self._session.ask(call)

    def list_tasks(
        self, *, worker: str = "", status: str = "", page_size: int = 0, page_token: str = ""
    ) -> Json:
        """Return a page of tasks, the newest first."""
        paging = wire.paging(page_size, page_token)
        return self._get("/v1/tasks", worker=worker, status=status, **paging)

    def get_task(self, task: str) -> Json:
        """Return one task."""
        return self._get(wire.task_path(task))

    def cancel_task(self, task: str) -> Json:
        """Cancel a task; an attempt under way is told, then killed."""
        return self._post(f"{wire.task_path(task)}:cancel")

    def retry_task(self, task: str) -> Json:
        """Run a delayed task now."""
        return self._post(f"{wire.task_path(task)}:retry")

    def list_dead_letters(
        self, *, page_size: int = 0, page_token: str = "", **filters: str
    ) -> Json:
        """Return a page of dead letters; *filters*: worker, reason, error_type, event_type."""
        paging = wire.paging(page_size, page_token)
        return self._get("/v1/deadLetters", **wire.camel(filters), **paging)

    def get_dead_letter(self, dead_letter: str) -> Json:
        """Return one dead letter with its event."""
        return self._get(f"/v1/deadLetters/{wire.quote(dead_letter)}")

    def redrive(
        self,
        *,
        ids: Sequence[str] = (),
        target_version: str = "",
        max_rate: float | None = None,
        **filters: str,
    ) -> Json:
        """Hand dead letters to their workers again, at most *max_rate* a second.

        *filters* as in `list_dead_letters`; returns the operation that does it.
        """
        options = {"targetVersion": target_version or None, "maxRate": max_rate}
        return self._post(
            "/v1/deadLetters:redrive", wire.selection(ids, filters) | wire.given(options)
        )

    def purge_dead_letters(self, *, ids: Sequence[str] = (), **filters: str) -> Json:
        """Forget dead letters; *filters* as in `list_dead_letters`."""
        return self._post("/v1/deadLetters:purge", wire.selection(ids, filters))

    # Groups, engines, operations, health

    def list_groups(self, *, page_size: int = 0, page_token: str = "") -> Json:
        """Return a page of the groups that workers name."""
        return self._get("/v1/groups", **wire.paging(page_size, page_token))

    def get_group(self, name: str) -> Json:
        """Return one group with its members and holders."""
        return self._get(f"/v1/groups/{wire.quote(name)}")

    def release_group(self, name: str, token: int) -> Json:
        """Take a group's lock from the holder that has *token*."""
        return self._post(f"/v1/groups/{wire.quote(name)}:release", {"token": token})

    def list_engines(self, *, page_size: int = 0, page_token: str = "") -> Json:
        """Return a page of the engines and whether they can be used here."""
        return self._get("/v1/engines", **wire.paging(page_size, page_token))

    def list_operations(self, *, page_size: int = 0, page_token: str = "") -> Json:
        """Return a page of operations, the newest first."""
        return self._get("/v1/operations", **wire.paging(page_size, page_token))

    def get_operation(self, operation: str) -> Json:
        """Return one operation."""
        return self._get(wire.operation_path(operation))

    def cancel_operation(self, operation: str) -> Json:
        """Ask for an operation to stop where it is."""
        return self._post(f"{wire.operation_path(operation)}:cancel")

    def health(self, *, verbose: bool = True) -> Json:
        """Return the health of the service."""
        return self._get("/v1/health", verbose=verbose)

    # Private

    def _get(self, path: str, **query: str | float | bool | None) -> Json:
        return self._session.ask(Call("GET", path, query))

    def _post(self, path: str, body: object = None, *, may_repeat: bool = False) -> Json:
        encoded = b"" if body is None else wire.encode(body)
        return self._session.ask(Call("POST", path, body=encoded, is_idempotent=may_repeat))

    def _verb(self, ref: str, verb: str) -> Json:
        return self._post(f"{wire.worker_path(ref)}:{verb}", may_repeat=True)
