"""A gRPC client of WorkManager: create a worker, watch it, send it an event, delete it.

    python grpc_client.py 127.0.0.1:5002 /path/to/the/state/folder/token

It uses nothing but grpcio and the code generated from proto/; other languages generate their own.
"""

import sys
from pathlib import Path

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from workmanager.cloudevents.v1.cloudevents_pb2 import CloudEvent
from workmanager.v1 import event_service_pb2, event_service_pb2_grpc, worker_service_pb2_grpc
from workmanager.v1 import worker_service_pb2 as pb

CODE = b"""
def process(event):
    return {"greeting": f"Hello {event.data['name']}"}
"""


def main(target, token_file):
    credentials = [("authorization", f"Bearer {Path(token_file).read_text().strip()}")]
    with grpc.insecure_channel(target) as channel:
        workers = worker_service_pb2_grpc.WorkerServiceStub(channel)
        events = event_service_pb2_grpc.EventServiceStub(channel)

        manifest = {"metadata": {"name": "greeter"}, "spec": {"code": {"content": CODE}}}
        request = pb.CreateWorkerRequest(manifest=manifest)
        worker = workers.CreateWorker(request, metadata=credentials, timeout=30)
        print("created", worker.name, worker.status.state)

        changes = workers.WatchWorkers(
            pb.WatchWorkersRequest(worker="greeter"), metadata=credentials, timeout=60
        )
        print("watching", next(changes).changes[0].worker.name)

        event = CloudEvent(id="1", source="/docs", type="hello", text_data='{"name": "Ada"}')
        answer = events.Invoke(
            event_service_pb2.InvokeRequest(worker="greeter", event=event), metadata=credentials
        )
        print("answered", answer.outputs[0].text_data)

        workers.DeleteWorker(pb.DeleteWorkerRequest(worker="greeter"), metadata=credentials)
        for response in changes:
            if any(change.type == "DELETED" for change in response.changes):
                print("deleted")
                break

        try:
            workers.GetWorker(pb.GetWorkerRequest(worker="greeter"), metadata=credentials)
        except grpc.RpcError as error:
            print("refused", error.code().name, reason_of(error))


def reason_of(error):
    """Read the stable reason from the details of a refusal."""
    for key, value in error.trailing_metadata():
        if key == "grpc-status-details-bin":
            for detail in Status.FromString(value).details:
                if detail.Is(ErrorInfo.DESCRIPTOR):
                    return ErrorInfo.FromString(detail.value).reason
    return ""


if __name__ == "__main__":
    main(*sys.argv[1:])
