"""System call numbers: x86_64 and aarch64, for the calls that we make or filter.

Source: the kernel's arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h
(v6.18). From 424 on both machines count alike. None: the machine never had the call.
"""

from __future__ import annotations

import os
from typing import Dict, Optional, Tuple

NEWEST_NUMBER = 456  # futex_requeue (6.7); whatever came later does not exist in a sandbox

_TABLE: Dict[str, Tuple[Optional[int], Optional[int]]] = {
    # the sandbox itself
    "close_range": (436, 436),
    "landlock_add_rule": (445, 445),
    "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446),
    "mount_setattr": (442, 442),
    "pivot_root": (155, 41),
    "seccomp": (317, 277),
    # processes
    "clone": (56, 220),
    "clone3": (435, 435),
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "get_robust_list": (274, 100),
    "getpgid": (121, 155),
    "getsid": (124, 156),
    "kill": (62, 129),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "setrlimit": (160, 164),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "tgkill": (234, 131),
    "tkill": (200, 130),
    "vfork": (58, None),
    # scheduling
    "ioprio_set": (251, 30),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "setpriority": (141, 140),
    # other processes' memory
    "kcmp": (312, 272),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    # namespaces and mounts
    "chroot": (161, 51),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "mount": (165, 40),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "setns": (308, 268),
    "umount2": (166, 39),
    "unshare": (272, 97),
    # sockets
    "accept": (43, 202),
    "accept4": (288, 242),
    "bind": (49, 200),
    "connect": (42, 203),
    "listen": (50, 201),
    "sendmmsg": (307, 269),
    "sendmsg": (46, 211),
    "sendto": (44, 206),
    "setsockopt": (54, 208),
    "socket": (41, 198),
    "socketpair": (53, 199),
    # files
    "chmod": (90, None),
    "chown": (92, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "fcntl": (72, 25),
    "fremovexattr": (199, 16),
    "fsetxattr": (190, 7),
    "futimesat": (261, None),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "ioctl": (16, 29),
    "lchown": (94, None),
    "lremovexattr": (198, 15),
    "lsetxattr": (189, 6),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "removexattr": (197, 14),
    "setxattr": (188, 5),
    "fdatasync": (75, 83),
    "fsync": (74, 82),
    "msync": (26, 227),
    "sync": (162, 81),
    "sync_file_range": (277, 84),
    "syncfs": (306, 267),
    "truncate": (76, 45),
    "utime": (132, None),
    "utimensat": (280, 88),
    "utimes": (235, None),
    "vmsplice": (278, 75),
    # shared memory and queues
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "semget": (64, 190),
    "shmget": (29, 194),
    # kernel surface
    "_sysctl": (156, None),
    "acct": (163, 89),
    "cachestat": (451, 451),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "create_module": (174, None),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "finit_module": (313, 273),
    "get_kernel_syms": (177, None),
    "init_module": (175, 105),
    "io_setup": (206, 0),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "map_shadow_stack": (453, 453),
    "mbind": (237, 235),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, None),
    "move_pages": (279, 239),
    "nfsservctl": (180, 42),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "query_module": (178, None),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "set_mempolicy": (238, 237),
    "set_mempolicy_home_node": (450, 450),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "sysfs": (139, None),
    "syslog": (103, 116),
    "uselib": (134, None),
    "userfaultfd": (323, 282),
    "ustat": (136, None),
    "vhangup": (153, 58),
    # read by tests
    "futex_requeue": (456, 456),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "read": (0, 63),
    "uname": (63, 160),
}

_COLUMNS = {"x86_64": 0, "aarch64": 1}


def machine() -> str:
    """The kernel's name of this machine, "x86_64" or "aarch64" where we know its numbers."""
    return os.uname().machine


def numbers_of(machine_name: str) -> Dict[str, int]:
    """Name -> number of every call in the table that *machine_name* has; empty if unknown."""
    column = _COLUMNS.get(machine_name)
    if column is None:
        return {}
    found = {name: numbers[column] for name, numbers in _TABLE.items()}
    return {name: number for name, number in found.items() if number is not None}
