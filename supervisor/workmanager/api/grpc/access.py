"""The rpcs about applications, their keys and the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workmanager.api.grpc.convert import to_json
from workmanager.api.grpc.paging import page_of
from workmanager.api.grpc.rpc import Calls, Work
from workmanager.api.paging import cut_page
from workmanager.api.validation import read_model
from workmanager.model.access import ApplicationSpec, NewAccessKey, NewApplication
from workmanager.v1 import access_pb2 as pb

if TYPE_CHECKING:
    from workmanager.api.protocol import Service
    from workmanager.model.access import AccessKey, Application, AuditEntry, IssuedKey
    from workmanager.model.resources import Page

calls = Calls(pb.DESCRIPTOR.services_by_name["AccessService"])


@calls.unary()
def list_applications(request: pb.ListApplicationsRequest) -> Work[Page[Application]]:
    """List the applications that may call."""
    page = page_of(request)

    async def work(service: Service) -> Page[Application]:
        return cut_page(await service.list_applications(), page)

    return work


@calls.unary(keyed=True)
def create_application(request: pb.CreateApplicationRequest) -> Work[Application]:
    """Make an application, which has no key yet."""
    application = read_model(NewApplication, to_json(request))
    return lambda service: service.create_application(application)


@calls.unary()
def get_application(request: pb.GetApplicationRequest) -> Work[Application]:
    """Get one application."""
    return lambda service: service.get_application(request.application)


@calls.unary()
def update_application(request: pb.UpdateApplicationRequest) -> Work[Application]:
    """Replace what an application may do."""
    asked = to_json(request)
    name = str(asked.pop("application", ""))
    spec = read_model(ApplicationSpec, asked)
    return lambda service: service.update_application(name, spec)


@calls.unary()
def delete_application(request: pb.DeleteApplicationRequest) -> Work[None]:
    """Forget an application."""
    return lambda service: service.delete_application(request.application)


@calls.unary()
def list_access_keys(request: pb.ListAccessKeysRequest) -> Work[Page[AccessKey]]:
    """List an application's keys, without their secrets."""
    page = page_of(request)

    async def work(service: Service) -> Page[AccessKey]:
        return cut_page(await service.list_access_keys(request.application), page)

    return work


@calls.unary()  # without an idempotency key: its answer must not be kept
def create_access_key(request: pb.CreateAccessKeyRequest) -> Work[IssuedKey]:
    """Make a key; the answer is the only time that its secret is shown."""
    asked = to_json(request)
    name = str(asked.pop("application", ""))
    key = read_model(NewAccessKey, asked)
    return lambda service: service.create_access_key(name, key)


@calls.unary()
def delete_access_key(request: pb.DeleteAccessKeyRequest) -> Work[None]:
    """Forget a key."""
    return lambda service: service.delete_access_key(request.application, request.key)


@calls.unary()
def list_audit_entries(request: pb.ListAuditEntriesRequest) -> Work[Page[AuditEntry]]:
    """List what was changed, and what was refused, newest first."""
    page = page_of(request)
    return lambda service: service.list_audit_entries(
        principal=request.principal,
        action=request.action,
        page_size=page.size,
        page_token=page.token,
    )
