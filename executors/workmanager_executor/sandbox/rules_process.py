"""Rules about processes: who may be made, signalled, scheduled, limited."""

from __future__ import annotations

import errno
from typing import Dict

from .bpf import ANY_BIT, EQUAL, KILL_PROCESS, PASS, Branch, Node, Verdict, argument, one_of, refuse

_FORBIDDEN = refuse(errno.EPERM)

_NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_CLONE_PARENT = 0x00008000  # the child would be the supervisor's
_CLONE_THREAD = 0x00010000

_PRCTL_FORBIDDEN = (
    1,  # PR_SET_PDEATHSIG: outlive the supervisor
    4,  # PR_SET_DUMPABLE: hide from the supervisor's accounting
    35,  # PR_SET_MM
    62,  # PR_SCHED_CORE: share a core cookie with others
    67,  # PR_SET_MEMORY_MERGE: pages shared with whoever has the same tell by their timing
    0x59616D61,  # PR_SET_PTRACER
)

_PID_FIRST = "kill rt_sigqueueinfo rt_tgsigqueueinfo tgkill"
_ABOUT = "get_robust_list getpgid getsid"
_SCHEDULING = "prlimit64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler"
_WHO_SECOND = "ioprio_set setpriority"  # (which, who): who = 0 is oneself only for a process
_RLIMIT_CORE = 4
_SIGKILL, _FIRST = 9, 1
_PRIO_PROCESS = {"setpriority": 0, "ioprio_set": 1}


def process_rules(
    *, subprocess_allowed: bool, exec_open: bool, own_pids: bool, self_pid: int
) -> Dict[str, Node]:
    """The rules for processes; *exec_open* leaves execve to a later `seal()`."""
    rules: Dict[str, Node] = {
        "clone": argument(0, _clone(subprocess_allowed=subprocess_allowed)),
        "clone3": refuse(errno.ENOSYS),  # its flags are behind a pointer; libc falls back to clone
        "prctl": argument(0, one_of(_PRCTL_FORBIDDEN, _FORBIDDEN, PASS)),
    }
    if not subprocess_allowed:
        rules.update(_no_children(exec_open=exec_open))
    if own_pids:
        rules["kill"] = _kill_of_oneself(subprocess_allowed=subprocess_allowed)
    else:
        rules.update(_only_oneself(self_pid, signals=not subprocess_allowed))
    rules["setrlimit"] = argument(0, one_of((_RLIMIT_CORE,), _FORBIDDEN, PASS))
    rules["prlimit64"] = argument(
        1, one_of((_RLIMIT_CORE,), _ask_only(), rules.get("prlimit64", PASS))
    )
    return rules


def _ask_only() -> Node:
    """prlimit64 without a new limit, its third argument: a limit of 1 byte cannot become 0."""
    return argument(
        2, one_of((0,), argument(2, one_of((0,), PASS, _FORBIDDEN), is_high=True), _FORBIDDEN)
    )


def _clone(*, subprocess_allowed: bool) -> Node:
    plain = PASS if subprocess_allowed else Branch(ANY_BIT, _CLONE_THREAD, PASS, _FORBIDDEN)
    return Branch(ANY_BIT, _NEW_NAMESPACES | _CLONE_PARENT, _FORBIDDEN, plain)


def _no_children(*, exec_open: bool) -> Dict[str, Node]:
    names = ["fork", "vfork"] if exec_open else ["fork", "vfork", "execve", "execveat"]
    return dict.fromkeys(names, _FORBIDDEN)


def _kill_of_oneself(*, subprocess_allowed: bool) -> Node:
    """SIGKILL to the first process of a pid namespace, from inside: the kernel does nothing.

    A process that is alone means itself, and it ends, by SIGSYS. With others it may be one of them
    that asks, and the filter would end that one: it is refused, which is at least said.
    """
    ending = _FORBIDDEN if subprocess_allowed else Verdict(KILL_PROCESS)
    first = argument(1, Branch(EQUAL, _SIGKILL, ending, PASS))
    return argument(0, one_of((_FIRST,), first, PASS))


def _only_oneself(self_pid: int, *, signals: bool) -> Dict[str, Node]:
    """Without own pids every process of the same uid could be reached.

    A thread's own number is refused with the others': only 0 and the process's pid pass.
    """
    oneself = one_of((0, self_pid), PASS, _FORBIDDEN)
    rules = {name: argument(0, oneself) for name in f"{_ABOUT} {_SCHEDULING}".split()}
    for name in _WHO_SECOND.split():
        who = argument(1, oneself)
        rules[name] = argument(0, Branch(EQUAL, _PRIO_PROCESS[name], who, _FORBIDDEN))
    if signals:
        rules.update({name: argument(0, oneself) for name in _PID_FIRST.split()})
        rules.update(tkill=_FORBIDDEN, pidfd_send_signal=_FORBIDDEN)
    return rules
