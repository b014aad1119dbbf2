"""`workmanager worker`: define, run, watch and use workers."""

from __future__ import annotations

from workmanager.cli.command import examples, lazy_group

_HERE = "workmanager.cli.commands"
PLACES = {
    "apply": f"{_HERE}.worker_define:apply",
    "create": f"{_HERE}.worker_create:create",
    "get": f"{_HERE}.worker_show:get",
    "list": f"{_HERE}.worker_show:list_",
    "describe": f"{_HERE}.worker_show:describe",
    "explain": f"{_HERE}.worker_show:explain",
    "diff": f"{_HERE}.worker_define:diff",
    "start": f"{_HERE}.worker_verbs:start",
    "stop": f"{_HERE}.worker_verbs:stop",
    "pause": f"{_HERE}.worker_verbs:pause",
    "resume": f"{_HERE}.worker_verbs:resume",
    "restart": f"{_HERE}.worker_verbs:restart",
    "rollback": f"{_HERE}.worker_verbs:rollback",
    "delete": f"{_HERE}.worker_verbs:delete",
    "logs": f"{_HERE}.worker_logs:logs",
    "invoke": f"{_HERE}.worker_invoke:invoke",
    "wait": f"{_HERE}.worker_wait:wait",
}


@examples("workmanager worker apply -f worker.yaml", "workmanager worker list")
def _worker() -> None:
    """Define, run, watch and use workers."""


worker = lazy_group("worker", places=PLACES)(_worker)
