"""How an operator gets a layer that is missing: one sentence per layer, for people who act."""

from __future__ import annotations

_OTHER = "the detail says what the kernel refused; docs/security.md has a section per layer"

_REMEDIES = {
    "uid": (
        "run the service as root (systemd: no User= and no DynamicUser=) and with uids that are"
        " mapped here (sandbox_uid_base); or be content with level full"
    ),
    "namespaces": (
        "let this user make user namespaces: sysctl user.max_user_namespaces above 0 and, where"
        " they exist, kernel.unprivileged_userns_clone=1 and"
        " kernel.apparmor_restrict_unprivileged_userns=0; in a systemd unit no"
        " RestrictNamespaces=; in a container a seccomp profile that permits unshare and mount"
    ),
    "root": (
        "let mounts be made inside of user namespaces: in a container a seccomp profile that"
        " permits mount and pivot_root (and no AppArmor profile that denies them), in a systemd"
        " unit no SystemCallFilter without @mount"
    ),
    "proc": "run the service where /proc is not masked: on the host, not in a common container",
    "scratch": "let tmpfs be mounted inside of user namespaces, as for layer root",
    "network": "layer namespaces gives an empty network; ports need Landlock ABI 4 (kernel 6.7)",
    "landlock": (
        "boot a kernel 5.13 or later with CONFIG_SECURITY_LANDLOCK and landlock in its lsm= list;"
        " in a systemd unit permit landlock_create_ruleset, landlock_add_rule and"
        " landlock_restrict_self; in a container a seccomp profile that does"
    ),
    "seccomp": "boot a kernel with CONFIG_SECCOMP_FILTER; in a systemd unit permit seccomp",
    "capabilities": "let the service drop capabilities: no SystemCallFilter that denies capset",
    "cgroups": (
        "run the service in a systemd unit with Delegate=yes, on a host with cgroup v2"
        " (systemd.unified_cgroup_hierarchy=1 on older ones)"
    ),
    "memory": "memory is bounded for certain by a cgroup only: see layer cgroups",
}


def remedy(layer: str) -> str:
    """Say what to do to get *layer*."""
    return _REMEDIES.get(layer, _OTHER)
