"""Applications, their access keys, the audit: for administrators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workmanager.client.call import Call, Method, get, post

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workmanager.model.access import AccessKey, Application, AuditEntry, IssuedKey
    from workmanager.model.resources import Page

    Grant = Mapping[str, Any]  # workers, rights, secrets: each a list of texts

APPLICATIONS = "/v1/applications"
APPLICATION = "/v1/applications/{application}"
KEYS = "/v1/applications/{application}/accessKeys"


class AccessCalls:
    """Applications, access keys, audit."""

    @Method
    def list_applications(
        self, *, page_size: int = 0, page_token: str = ""
    ) -> Call[Page[Application]]:
        """Return a page of the applications that may call."""
        return get(
            "ListApplications", APPLICATIONS, page_size=page_size or None, page_token=page_token
        )

    @Method
    def get_application(self, application: str) -> Call[Application]:
        """Return one application."""
        return get("GetApplication", APPLICATION, application=application)

    @Method
    def create_application(
        self, name: str, *, grants: Sequence[Grant] = (), description: str = ""
    ) -> Call[Application]:
        """Make an application, which has no key yet."""
        fields = {"name": name, "description": description, "grants": list(grants)}
        return post("CreateApplication", APPLICATIONS, "*", **fields)

    @Method
    def update_application(
        self, application: str, *, grants: Sequence[Grant] = (), description: str = ""
    ) -> Call[Application]:
        """Replace what an application may do; its keys stay."""
        fields = {"application": application, "description": description, "grants": list(grants)}
        return Call("UpdateApplication", "PUT", APPLICATION, fields, body="*")

    @Method
    def delete_application(self, application: str) -> Call[None]:
        """Forget an application; its keys let nobody in from now on."""
        fields = {"application": application}
        return Call("DeleteApplication", "DELETE", APPLICATION, fields, pick=lambda _: None)

    @Method
    def list_access_keys(
        self, application: str, *, page_size: int = 0, page_token: str = ""
    ) -> Call[Page[AccessKey]]:
        """Return a page of an application's keys, without their secrets."""
        return get(
            "ListAccessKeys",
            KEYS,
            application=application,
            page_size=page_size or None,
            page_token=page_token,
        )

    @Method
    def create_access_key(
        self, application: str, *, description: str = "", expires_in_s: float = 0.0
    ) -> Call[IssuedKey]:
        """Make a key; what comes back is the only copy of its secret."""
        fields = {
            "application": application,
            "description": description,
            "expiresInS": expires_in_s or None,
        }
        return Call("CreateAccessKey", "POST", KEYS, fields, body="*", may_repeat=False)

    @Method
    def delete_access_key(self, application: str, key: str) -> Call[None]:
        """Forget a key; it lets nobody in from now on."""
        fields = {"application": application, "key": key}
        path = f"{KEYS}/{{key}}"
        return Call("DeleteAccessKey", "DELETE", path, fields, pick=lambda _: None)

    @Method
    def list_audit_entries(
        self, *, principal: str = "", action: str = "", page_size: int = 0, page_token: str = ""
    ) -> Call[Page[AuditEntry]]:
        """Return a page of the audit, newest first."""
        return get(
            "ListAuditEntries",
            "/v1/auditEntries",
            principal=principal,
            action=action,
            page_size=page_size or None,
            page_token=page_token,
        )
