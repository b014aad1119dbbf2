"""Rules that do not depend on who asks: kernel surface, files, shared memory.

Refused here is what needs a capability the executor does not have anyway (a second lock), what
reaches other processes' memory, and what takes from a pot that the whole host shares.
"""

from __future__ import annotations

import errno
from typing import Dict

from .bpf import EQUAL, PASS, Branch, Node, argument, one_of, refuse

_FORBIDDEN = refuse(errno.EPERM)
_MISSING = refuse(errno.ENOSYS)
_DO_NOTHING = refuse(0)

_NEVER = """
    _sysctl acct add_key adjtimex bpf chroot clock_adjtime clock_settime create_module
    delete_module fanotify_init fanotify_mark finit_module fsconfig fsmount fsopen fspick
    get_kernel_syms init_module ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie
    map_shadow_stack mbind memfd_secret migrate_pages modify_ldt mount mount_setattr move_mount
    move_pages name_to_handle_at nfsservctl open_by_handle_at open_tree perf_event_open
    pidfd_getfd pivot_root process_madvise process_mrelease process_vm_readv process_vm_writev
    ptrace query_module quotactl quotactl_fd reboot request_key set_mempolicy
    set_mempolicy_home_node setdomainname sethostname setns settimeofday swapoff swapon sysfs
    syslog umount2 unshare uselib userfaultfd ustat vhangup vmsplice
"""

# ENOSYS, so that callers fall back. io_setup takes from fs.aio-max-nr, one pot for the host;
# cachestat tells what others have read.
_ABSENT = "cachestat io_setup io_uring_enter io_uring_register io_uring_setup"

# Nothing in the scratch outlives the executor, and to sync whatever file may be read, unchanged as
# it is, makes the disk flush what all others have written: 0.6 ms of its time for each call.
_SILENT = "fdatasync fsync sync sync_file_range syncfs"

_MEMORY_FILES = "memfd_create mq_open msgget semget shmget"

# Changed without a descriptor that Landlock has seen (landlock(7), "Current limitations").
_METADATA = """
    chmod chown fchmod fchmodat fchmodat2 fchown fchownat fremovexattr fsetxattr futimesat lchown
    lremovexattr lsetxattr removexattr setxattr utime utimensat utimes
"""

_TERMINAL_COMMANDS = (
    0x5412,  # TIOCSTI types into the operator's terminal
    0x541C,  # TIOCLINUX pastes into it
    0x5423,  # TIOCSETD loads line disciplines
)
_OWNER_COMMANDS = (0x8901, 0x8902)  # FIOSETOWN, SIOCSPGRP: SIGIO to somebody else
_FILE_SYSTEM_COMMANDS = (0x6600, 0x5800)  # 'f', 'X': chattr and verity work on read-only files

# Leases stop others from opening a file; pipe buffers are counted per uid over the whole host.
_SHARED_POTS = (1024, 1026, 1031)  # F_SETLEASE, F_NOTIFY, F_SETPIPE_SZ
_OWNERS = (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX: any signal to somebody else

_ASK_PERSONALITY = 0xFFFFFFFF
_SOL_SOCKET = 1
_FILTER_OPTIONS = (26, 50, 51, 52)  # SO_ATTACH_FILTER, _BPF, _REUSEPORT_CBPF, _REUSEPORT_EBPF


def kernel_surface() -> Dict[str, Node]:
    """Calls that no executor needs, at any level."""
    rules = _all(_NEVER, _FORBIDDEN)
    rules.update(_all(_ABSENT, _MISSING))
    rules.update(_all(_SILENT, _DO_NOTHING))
    # An address that is not of a page is the caller's fault, and the kernel says so at once.
    rules["msync"] = argument(0, one_of((0,), _DO_NOTHING, PASS), mask=0xFFF)
    rules["ioctl"] = argument(1, one_of(_TERMINAL_COMMANDS, _FORBIDDEN, PASS))
    rules["fcntl"] = argument(1, one_of(_SHARED_POTS, _FORBIDDEN, PASS))
    rules["personality"] = argument(0, one_of((0, _ASK_PERSONALITY), PASS, _FORBIDDEN))
    options = argument(2, one_of(_FILTER_OPTIONS, _FORBIDDEN, PASS))
    rules["setsockopt"] = argument(1, Branch(EQUAL, _SOL_SOCKET, options, PASS))
    return rules


def memory_files() -> Dict[str, Node]:
    """Memory that no rlimit counts and that, for System V, outlives the process.

    CoreCLR asks for such a file, to map code twice, and does without.
    """
    return _all(_MEMORY_FILES, _FORBIDDEN)


def shared_tree_rules(landlock_abi: int) -> Dict[str, Node]:
    """What an own, read-only tree settles by itself: without one, these touch the host's files."""
    rules = _all(_METADATA, _FORBIDDEN)
    if landlock_abi < 3:
        rules["truncate"] = _FORBIDDEN  # by path; Landlock covers it from ABI 3
    # inotify instances are counted per uid, and the uid is the supervisor's.
    rules.update(_all("inotify_init inotify_init1", refuse(errno.EMFILE)))
    file_system = argument(1, one_of(_FILE_SYSTEM_COMMANDS, _FORBIDDEN, PASS), mask=0xFF00)
    single = _TERMINAL_COMMANDS + _OWNER_COMMANDS
    rules["ioctl"] = argument(1, one_of(single, _FORBIDDEN, file_system))
    rules["fcntl"] = argument(1, one_of(_SHARED_POTS + _OWNERS, _FORBIDDEN, PASS))
    return rules


def _all(names: str, node: Node) -> Dict[str, Node]:
    return dict.fromkeys(names.split(), node)
