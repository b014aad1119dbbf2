"""One call of the handler: its arguments in the form it wants, its result as an outcome."""

from __future__ import annotations

import inspect
from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING

from workmanager_executor.attempt import current
from workmanager_executor.context import Context
from workmanager_executor.contract import BatchResult, NonRetryable, OutputError
from workmanager_executor.event import Event, received, received_as_dict
from workmanager_executor.faults import STATUS_OK, verdict_on
from workmanager_executor.outputs import add_batch_result, add_result, add_seed_result

if TYPE_CHECKING:
    from typing import Callable, Tuple

    from workmanager_executor.attempt import Attempt, Batch
    from workmanager_executor.context import Runtime
    from workmanager_executor.faults import Fault, Verdict
    from workmanager_executor.loading import Handler
    from workmanager_executor.outbox import Outcome
    from workmanager_executor.outputs import AddResult, Outputs

    Invoke = Callable[[Attempt, bytes], object]
    ItemFault = Tuple[int, Fault]

_ADD_RESULT: dict[str, AddResult] = {
    "event": add_result,
    "seed": add_seed_result,
    "batch": add_batch_result,
}
NOTHING: Verdict = (STATUS_OK, [], None)  # the one verdict that needs no further look


class Calls:
    """Calls one handler.

    Attributes:
        invoke: Calls the user's function for an attempt and the wire form of its event.
    """

    __slots__ = ("_add", "_runtime", "invoke", "is_batch")

    def __init__(self, handler: Handler, runtime: Runtime) -> None:
        self.is_batch = handler.form == "batch"
        self.invoke = _invoker(handler, runtime)
        self._add = _ADD_RESULT[handler.form]
        self._runtime = runtime

    def run(self, attempt: Attempt, wire: bytes) -> Verdict:
        """Run a synchronous handler to its end; never raises."""
        current.set(attempt)
        try:
            result = self.invoke(attempt, wire)
            if result is None and attempt.outputs is None:
                return NOTHING
            return self._collect(attempt, result)
        except BaseException as error:  # noqa: BLE001 - the border of user code: sys.exit() as well
            return verdict_on(error)

    async def run_async(self, attempt: Attempt, wire: bytes) -> Verdict:
        """Run an asynchronous handler to its end; never raises."""
        current.set(attempt)
        try:
            result = self.invoke(attempt, wire)
            if isinstance(result, AsyncGeneratorType):
                return await self._collect_async(attempt, result)
            if inspect.isawaitable(result):
                result = await result
            if result is None and attempt.outputs is None:
                return NOTHING
            return self._collect(attempt, result)
        except BaseException as error:  # noqa: BLE001 - as above, and cancellation, which ends here
            return verdict_on(error)

    def _collect(self, attempt: Attempt, result: object) -> Verdict:
        if isinstance(result, GeneratorType):
            for value in result:
                self._take(attempt, value)
        else:
            self._take(attempt, result)
        return _verdict_of(attempt)

    async def _collect_async(
        self, attempt: Attempt, results: AsyncGeneratorType[object, None]
    ) -> Verdict:
        try:
            async for value in results:
                self._take(attempt, value)
        finally:
            await results.aclose()
        return _verdict_of(attempt)

    def _take(self, attempt: Attempt, result: object) -> None:
        if result is None:
            return
        if attempt.batch is not None and isinstance(result, BatchResult):
            attempt.batch.failures.update(_faults_of(attempt.batch, result))
            result = result.outputs
        if inspect.isawaitable(result) or isinstance(result, AsyncGeneratorType):
            raise NonRetryable(
                "the handler returned something to await, but is no async function; "
                "write `async def`, or functools.wraps in its decorator",
                type="HandlerError",
            )
        self._add(self._outputs(attempt), result)

    def _outputs(self, attempt: Attempt) -> Outputs:
        if attempt.outputs is None:
            attempt.outputs = self._runtime.new_outputs()
        return attempt.outputs


def outcomes_of(attempt: Attempt, verdict: Verdict, duration_us: int) -> list[Outcome]:
    """Return one outcome per item; the outputs of a batch hang on its first item that is well."""
    status, outputs, error = verdict
    if attempt.batch is None:
        return [(attempt.no, status, duration_us, outputs, error)]
    outcomes: list[Outcome] = []
    for place, no in enumerate(attempt.batch.nos):
        if status == STATUS_OK and place in attempt.batch.failures:
            item_status, item_error = attempt.batch.failures[place]
            outcomes.append((no, item_status, duration_us, [], item_error))
        else:
            outcomes.append((no, status, duration_us, outputs, error))
            outputs = []
    return outcomes


def _verdict_of(attempt: Attempt) -> Verdict:
    return STATUS_OK, [] if attempt.outputs is None else attempt.outputs.items, None


def _invoker(handler: Handler, runtime: Runtime) -> Invoke:
    """Return the cheapest call for this form and signature."""
    function = handler.function
    if handler.form == "batch":
        return _batch_invoker(handler, runtime)
    argument = received_as_dict if handler.form == "seed" else received
    if not handler.takes_context:
        return lambda _attempt, wire: function(argument(wire))

    def invoke(attempt: Attempt, wire: bytes) -> object:
        event = argument(wire)
        return function(event, Context(attempt, runtime, event))

    return invoke


def _batch_invoker(handler: Handler, runtime: Runtime) -> Invoke:
    function = handler.function

    def invoke(attempt: Attempt, _wire: bytes) -> object:
        batch = attempt.batch
        if batch is None:
            raise AssertionError("a batch handler is called with batches only")
        batch.events = [received(wire) for wire in batch.wires]
        if handler.takes_context:
            return function(list(batch.events), Context(attempt, runtime, batch.events[0]))
        return function(list(batch.events))

    return invoke


def _faults_of(batch: Batch, result: BatchResult) -> dict[int, ItemFault]:
    faults: dict[int, ItemFault] = {}
    for key, error in result.failures.items():
        if isinstance(error, type) and issubclass(error, BaseException):
            error = error()  # noqa: PLW2901 - `raise Retry` works without parentheses, too
        if not isinstance(error, BaseException):
            kind = type(error).__name__
            raise OutputError(f"failures[{key!r:.100}]: an exception is needed, not {kind}")
        status, _, fault = verdict_on(error)
        if fault is None:
            raise AssertionError("an exception always has a fault")
        faults[_place_of(batch, key)] = (status, fault)
    return faults


def _place_of(batch: Batch, key: object) -> int:
    """Return the place of the event that *key* names: the event, its id, or its index."""
    for place, event in enumerate(batch.events):
        if event is key or (isinstance(key, str) and event.id == key):
            return place
    is_index = isinstance(key, int) and not isinstance(key, bool)
    if is_index and 0 <= int(str(key)) < len(batch.events):
        return int(str(key))
    name = key.id if isinstance(key, Event) else key
    raise OutputError(f"failures[{name!r:.100}]: no such event in the batch")
