"""The gRPC API: the calls of `proto/workmanager/v1`, thin over the service.

`grpc.aio` runs in one asyncio thread and hands every call to the trio loop (`bridge`); a server of
threads would need one per open stream. Nothing here is imported unless a gRPC door is opened: the
library costs some 16 MiB.
"""

import os

# gRPC's own fork handlers stall a fork while a call is open; nothing forks here but by exec.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # read when grpc is imported, so before that
