"""The Dapr sidecar beside the service: one connection that everything Dapr goes through.

Imported only where the backend is Dapr: gRPC and Dapr's messages cost some 30 MiB.
"""

import os

# gRPC's own fork handlers stall a fork while a call is open; nothing forks here but by exec.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # read when grpc is imported, so before that
