"""Groups, engines, operations, logs, health."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from workmanager.client.call import Call, Method, get, post

if TYPE_CHECKING:
    from workmanager.model.resources import (
        Engine,
        Group,
        Health,
        LogLine,
        Operation,
        Page,
    )


class PlantCalls:
    """Groups, engines, operations, logs, health."""

    @Method
    def list_groups(self, *, page_size: int = 0, page_token: str = "") -> Call[Page[Group]]:
        """Return a page of the groups that workers name."""
        return _list("ListGroups", "/v1/groups", page_size, page_token)

    @Method
    def get_group(self, name: str) -> Call[Group]:
        """Return one group with its members and holders."""
        return get("GetGroup", "/v1/groups/{group}", group=name)

    @Method
    def release_group(self, name: str, token: int) -> Call[Group]:
        """Free a group whose holder is lost; *token* must be the one shown."""
        return post("ReleaseGroup", "/v1/groups/{group}:release", "*", group=name, token=token)

    @Method
    def list_engines(self, *, page_size: int = 0, page_token: str = "") -> Call[Page[Engine]]:
        """Return a page of the engines and whether they can be used here."""
        return _list("ListEngines", "/v1/engines", page_size, page_token)

    @Method
    def get_engine(self, media_type: str) -> Call[Engine]:
        """Return the engine of a media type or of an alias."""
        return get("GetEngine", "/v1/engines/{engine}", engine=media_type)

    @Method
    def list_operations(self, *, page_size: int = 0, page_token: str = "") -> Call[Page[Operation]]:
        """Return a page of operations, newest first."""
        return _list("ListOperations", "/v1/operations", page_size, page_token)

    @Method
    def get_operation(self, operation: str) -> Call[Operation]:
        """Return one operation."""
        return get("GetOperation", "/v1/operations/{operation}", operation=operation)

    @Method
    def cancel_operation(self, operation: str) -> Call[Operation]:
        """Ask an operation to end early."""
        return post("CancelOperation", "/v1/operations/{operation}:cancel", operation=operation)

    @Method
    def logs(self, ref: str = "", *, since_seq: int = 0, tail: int = 100) -> Call[list[LogLine]]:
        """Return the last *tail* (0: all) kept lines of one worker or of all, oldest first."""
        path = "/v1/workers/{worker}/logs" if ref else "/v1/logs"
        call = get("ListLogs", path, worker=ref, since_seq=since_seq, tail=tail)
        return replace(call, pick=lambda page: page["items"])

    @Method
    def health(self, *, worker: str = "", executor: str = "", verbose: bool = True) -> Call[Health]:
        """Return the health of the service, or of one worker or executor.

        *verbose* adds a record per part.
        """
        return get("GetHealth", "/v1/health", verbose=verbose, worker=worker, executor=executor)

    @Method
    def version_info(self) -> Call[Any]:
        """Tell what runs there."""
        return get("GetVersionInfo", "/version")

    @Method
    def metrics(self) -> Call[str]:
        """Return the metrics in the Prometheus text format."""
        call = get("GetMetrics", "/metrics")
        return replace(call, pick=lambda answer: answer["text"])


def _list(rpc: str, path: str, page_size: int, page_token: str) -> Call[Any]:
    return get(rpc, path, page_size=page_size or None, page_token=page_token)
