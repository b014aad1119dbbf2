"""The supervisor's side of the sandbox: probed once, chosen, required, reported, asked for.

    open_isolation(settings) -> Isolation       at start; refuses to start without what is required
    isolation.profile(spec, ...)                what the sandbox of one executor is told
    isolation.records()                         one record per layer, for health
    examine(settings)                           the same for the doctor, without a service

The layers themselves are applied by the executor: `workmanager_executor.sandbox`.
"""

from workmanager.executors.isolation.checkup import examine
from workmanager.executors.isolation.host import Isolation, open_isolation
from workmanager.executors.isolation.outlook import Outlook, Record
from workmanager.executors.isolation.remedies import remedy

__all__ = ["Isolation", "Outlook", "Record", "examine", "open_isolation", "remedy"]
