"""The gRPC API of a fake sidecar, on the servicer class of Dapr's SDK."""

# ruff: noqa: N802 (the names are the API's)

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from dapr.proto.common.v1.common_pb2 import StateItem, StateOptions
from dapr.proto.runtime.v1 import lock_pb2, metadata_pb2, pubsub_pb2, state_pb2
from dapr.proto.runtime.v1.dapr_pb2_grpc import DaprServicer
from fake_envelope import EnvelopeError, Publication, envelope_of
from fake_store import Locks, MemoryState, RedisState, StateError, StateFault, Write
from fake_subscription import TRUE, Inbound, Subscription
from google.protobuf.empty_pb2 import Empty

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fake_broker import Component
    from fake_faults import Faults, Record

VERSION = "1.18.0"
CODES = {
    StateFault.MISMATCH: grpc.StatusCode.ABORTED,
    StateFault.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    StateFault.INTERNAL: grpc.StatusCode.INTERNAL,
}
REDIS_STATE = ["ETAG", "TRANSACTIONAL", "TTL", "KEYS_LIKE", "ACTOR"]
MEMORY_STATE = ["ETAG", "TRANSACTIONAL", "TTL", "DELETE_WITH_PREFIX", "KEYS_LIKE", "ACTOR"]


@dataclass(slots=True)
class Stores:
    """The components of one sidecar, by name; a name that is not here is not configured."""

    pubsubs: dict[str, Component]
    states: dict[str, RedisState | MemoryState]
    locks: dict[str, Locks]


@dataclass(slots=True)
class Sidecar(DaprServicer):
    """One daprd: an app-id and its components."""

    app_id: str
    stores: Stores
    faults: Faults
    record: Record
    inbound: Inbound
    key_prefix: str  # of states and locks: the app-id, unless the components say otherwise
    subscriptions: list[Subscription] = field(default_factory=list)

    async def PublishEvent(self, request, context):
        component = await self._pubsub(request.pubsub_name, request.topic, context)
        publication = Publication(
            request.pubsub_name,
            request.topic,
            request.data,
            request.data_content_type,
            dict(request.metadata),
        )
        data = await self._envelope(publication, context)
        await component.publish(request.topic, data, dict(request.metadata))
        return Empty()

    async def BulkPublishEvent(self, request, context):
        component = await self._pubsub(request.pubsub_name, request.topic, context)
        seen: set[str] = set()
        messages = []
        for entry in request.entries:
            if not entry.entry_id or entry.entry_id in seen:
                await context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    "entryId is duplicated or not present for entry",
                )
            seen.add(entry.entry_id)
            metadata = {**request.metadata, **entry.metadata} if entry.metadata else {}
            publication = Publication(
                request.pubsub_name, request.topic, entry.event, entry.content_type, metadata
            )
            is_raw = request.metadata.get("rawPayload", "").lower() in TRUE
            data = entry.event if is_raw else await self._envelope(publication, context)
            messages.append((entry.entry_id, data, metadata))
        failed = []
        fault = self.faults.take("BulkPublishEvent", request, self.app_id, ("entries",))
        for entry_id, data, metadata in messages:
            if fault and (fault.match in entry_id or fault.match.encode() in data):
                failed.append(
                    pubsub_pb2.BulkPublishResponseFailedEntry(entry_id=entry_id, error="injected")
                )
            else:
                await component.publish(request.topic, data, metadata)
        return pubsub_pb2.BulkPublishResponse(failedEntries=failed)

    async def BulkPublishEventAlpha1(self, request, context):
        return await self.BulkPublishEvent(request, context)

    async def SubscribeTopicEventsAlpha1(self, requests, context):
        asked = (await anext(aiter(requests))).initial_request
        if not asked.pubsub_name or not asked.topic:
            await context.abort(grpc.StatusCode.UNKNOWN, "pubsubName and topic are required")
        if asked.pubsub_name not in self.stores.pubsubs:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"pubsub {asked.pubsub_name} is not found"
            )
        component = self.stores.pubsubs[asked.pubsub_name]
        subscription = Subscription(asked, context, component, self.inbound, self.record)
        self.subscriptions.append(subscription)
        try:
            await subscription.start()
            await self._listen(subscription, requests, context)
        finally:
            if not subscription.is_closed:
                subscription.close()
            with contextlib.suppress(ValueError):
                self.subscriptions.remove(subscription)

    async def _listen(self, subscription: Subscription, requests: Any, context: Any) -> None:
        reading = asyncio.create_task(self._read(subscription, requests))
        try:
            await asyncio.wait((reading, subscription.dropped), return_when=asyncio.FIRST_COMPLETED)
            if subscription.dropped.done():
                code = grpc.StatusCode[subscription.dropped.result()]
                await context.abort(code, "injected: stream dropped")
            if not reading.result():
                await context.abort(grpc.StatusCode.UNKNOWN, "duplicate initial request received")
        finally:
            reading.cancel()

    async def _read(self, subscription: Subscription, requests: Any) -> bool:
        async for request in requests:
            if not request.HasField("event_processed"):
                return False
            subscription.answer(request.event_processed)
        return True

    async def GetState(self, request, context):
        store = await self._state(request.store_name, context)
        record = store.get(await self._key(request.key, context))
        if record is None:
            return state_pb2.GetStateResponse()
        return state_pb2.GetStateResponse(data=record.data, etag=record.etag)

    async def GetBulkState(self, request, context):
        store = await self._state(request.store_name, context)
        items = []
        for key in request.keys:
            record = store.get(await self._key(key, context))
            item = state_pb2.BulkStateItem(key=key)
            if record:
                item.data, item.etag = record.data, record.etag
            items.append(item)
        return state_pb2.GetBulkStateResponse(items=items)

    async def SaveState(self, request, context):
        store = await self._state(request.store_name, context)
        writes = [await self._write(item, context) for item in request.states]
        await self._carry_out([lambda write=write: store.set(write) for write in writes], context)
        return Empty()

    async def DeleteState(self, request, context):
        store = await self._state(request.store_name, context)
        await self._delete(store, request, context)
        return Empty()

    async def DeleteBulkState(self, request, context):
        store = await self._state(request.store_name, context)
        for item in request.states:
            await self._delete(store, item, context)
        return Empty()

    async def TryLockAlpha1(self, request, context):
        if request.expiry_in_seconds <= 0:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "ExpiryInSeconds is not positive")
        locks = await self._locks(request, context)
        resource = f"lock||{self.key_prefix}||{request.resource_id}"
        is_ours = locks.acquire(resource, request.lock_owner, request.expiry_in_seconds)
        return lock_pb2.TryLockResponse(success=is_ours)

    async def UnlockAlpha1(self, request, context):
        locks = await self._locks(request, context)
        resource = f"lock||{self.key_prefix}||{request.resource_id}"
        status = locks.release(resource, request.lock_owner)
        return lock_pb2.UnlockResponse(status=int(status))

    async def GetMetadata(self, request, context):
        answer = metadata_pb2.GetMetadataResponse(
            id=self.app_id,
            runtime_version=VERSION,
            extended_metadata={"daprRuntimeVersion": VERSION},
        )
        for name, pubsub in self.stores.pubsubs.items():
            capabilities = ["SUBSCRIBE_WILDCARDS"] if pubsub.kind == "pubsub.in-memory" else []
            self._register(answer, name, pubsub.kind, capabilities)
        for name, store in self.stores.states.items():
            is_redis = isinstance(store, RedisState)
            kind = "state.redis" if is_redis else "state.in-memory"
            self._register(answer, name, kind, REDIS_STATE if is_redis else MEMORY_STATE)
        for name in self.stores.locks:
            self._register(answer, name, "lock.redis", [])
        for subscription in self.subscriptions:
            answer.subscriptions.add(
                pubsub_name=subscription.asked.pubsub_name,
                topic=subscription.asked.topic,
                metadata=subscription.asked.metadata,
                dead_letter_topic=subscription.asked.dead_letter_topic,
                type=metadata_pb2.STREAMING,
                rules=metadata_pb2.PubsubSubscriptionRules(
                    rules=[metadata_pb2.PubsubSubscriptionRule(path="/")]
                ),
            )
        return answer

    def _register(self, answer: Any, name: str, kind: str, capabilities: list[str]) -> None:
        answer.registered_components.add(
            name=name, type=kind, version="v1", capabilities=capabilities
        )

    async def _pubsub(self, name: str, topic: str, context: Any) -> Component:
        if name not in self.stores.pubsubs:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"pubsub {name} is not found")
        if not topic:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"topic is empty in pubsub {name}"
            )
        return self.stores.pubsubs[name]

    async def _envelope(self, publication: Publication, context: Any) -> bytes:
        if publication.metadata.get("rawPayload", "").lower() in TRUE:
            return publication.data
        try:
            return envelope_of(publication, app_id=self.app_id, trace=_trace(context))
        except EnvelopeError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            raise

    async def _state(self, name: str, context: Any) -> RedisState | MemoryState:
        if not self.stores.states:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION, "state store is not configured"
            )
        if name not in self.stores.states:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"state store {name} is not found"
            )
        return self.stores.states[name]

    async def _key(self, key: str, context: Any) -> str:
        if "||" in key:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"input key/keyPrefix '{key}' can't contain '||'",
            )
        return f"{self.key_prefix}||{key}"

    async def _write(self, item: StateItem, context: Any) -> Write:
        if not item.key:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "state key cannot be empty")
        concurrency = item.options.concurrency
        ttl = item.metadata.get("ttlInSeconds")
        return Write(
            key=await self._key(item.key, context),
            data=item.value,
            etag=item.etag.value,
            first_write=concurrency == StateOptions.CONCURRENCY_FIRST_WRITE,
            last_write=concurrency == StateOptions.CONCURRENCY_LAST_WRITE,
            ttl_s=int(ttl) if ttl else None,
        )

    async def _delete(self, store: RedisState | MemoryState, request: Any, context: Any) -> None:
        key = await self._key(request.key, context)
        first_write = request.options.concurrency == StateOptions.CONCURRENCY_FIRST_WRITE
        await self._carry_out(
            [lambda: store.delete(key, request.etag.value, first_write=first_write)], context
        )

    async def _carry_out(self, steps: list[Callable[[], None]], context: Any) -> None:
        """Do every step, as the sidecar does, and then tell of the first one refused."""
        refused: StateError | None = None
        for step in steps:
            try:
                step()
            except StateError as error:
                refused = refused or error
        if refused:
            await context.abort(CODES[refused.fault], str(refused))

    async def _locks(self, request: Any, context: Any) -> Locks:
        if not self.stores.locks:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "lock store is not configured")
        if not request.resource_id or not request.lock_owner:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "ResourceId or LockOwner is empty"
            )
        if request.store_name not in self.stores.locks:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"lock store {request.store_name} not found"
            )
        return self.stores.locks[request.store_name]


class Door(grpc.aio.ServerInterceptor):
    """What every call passes: the API token, the count of calls, the injected faults."""

    def __init__(self, sidecar: Sidecar, token: str) -> None:
        self._sidecar = sidecar
        self._token = token

    async def intercept_service(
        self, continuation: Callable[..., Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        handler = await continuation(details)
        method = details.method.rsplit("/", 1)[1]
        presented = dict(details.invocation_metadata).get("dapr-api-token", "")
        if handler is None:
            return None
        allowed = not self._token or presented == self._token
        if handler.stream_stream:
            return grpc.stream_stream_rpc_method_handler(
                self._streaming(method, handler.stream_stream, allowed=allowed),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if not handler.unary_unary:
            return handler
        return grpc.unary_unary_rpc_method_handler(
            self._unary(method, handler.unary_unary, allowed=allowed),
            handler.request_deserializer,
            handler.response_serializer,
        )

    def _unary(self, method: str, inner: Callable[..., Any], *, allowed: bool) -> Any:
        async def call(request, context):
            await self._enter(method, request, context, allowed=allowed)
            answer = await inner(request, context)
            await self._sidecar.faults.after(method, request, self._sidecar.app_id, context)
            return answer

        return call

    def _streaming(self, method: str, inner: Callable[..., Any], *, allowed: bool) -> Any:
        async def call(requests, context):
            await self._enter(method, "", context, allowed=allowed)
            await inner(requests, context)

        return call

    async def _enter(self, method: str, request: Any, context: Any, *, allowed: bool) -> None:
        if not allowed:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "authentication error")
        self._sidecar.record.calls[method] += 1
        await self._sidecar.faults.before(method, request, self._sidecar.app_id, context)


def _trace(context: Any) -> str:
    return dict(context.invocation_metadata() or ()).get("traceparent", "")
