// A client that knows the proto files alone: creates, changes, watches and deletes a worker.
// usage: node client.js PROTO_FOLDER TARGET TOKEN NAME; prints one JSON object.
"use strict";

const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");
const path = require("node:path");

const [folder, target, token, name] = process.argv.slice(2);
const files = ["worker_service", "event_service", "operation"].map((file) =>
  path.join(folder, "workmanager", "v1", `${file}.proto`),
);
const definition = loader.loadSync(files, { includeDirs: [folder], longs: Number, oneofs: true });
const { workmanager } = grpc.loadPackageDefinition(definition);
const metadata = new grpc.Metadata();
metadata.set("authorization", `Bearer ${token}`);

function client(service) {
  return new workmanager.v1[service](target, grpc.credentials.createInsecure());
}

function call(stub, method, request) {
  return new Promise((resolve, reject) =>
    stub[method](request, metadata, { deadline: Date.now() + 15000 }, (error, answer) =>
      error ? reject(error) : resolve(answer),
    ),
  );
}

// Follows the worker; `listed` resolves after the bookmark, `seen` once the worker is gone.
function follow(workers) {
  const types = [];
  const stream = workers.WatchWorkers({ worker: name }, metadata, { deadline: Date.now() + 15000 });
  const listed = new Promise((resolve) => stream.once("bookmark", resolve));
  const seen = new Promise((resolve, reject) => {
    stream.on("error", reject); // after the end it is its own cancellation
    stream.on("data", ({ changes }) => {
      for (const { type } of changes) {
        types.push(type);
        if (type === "BOOKMARK") stream.emit("bookmark");
        if (type === "DELETED") {
          resolve(types);
          stream.cancel();
        }
      }
    });
  });
  return { listed, seen };
}

async function main() {
  const workers = client("WorkerService");
  const code = Buffer.from("def process(event):\n    return {'got': event.data}\n");
  const manifest = { metadata: { name }, spec: { code: { content: code } } };
  const created = await call(workers, "CreateWorker", { manifest });
  const watch = follow(workers);
  await watch.listed;
  manifest.spec.retry = { maximumAttempts: 2 };
  const changed = await call(workers, "ApplyWorker", { worker: name, manifest });
  const event = { id: "1", source: "/node", type: "t", textData: '{"n":1}' };
  const invoked = await call(client("EventService"), "Invoke", { worker: name, event });
  const refused = await call(workers, "GetWorker", { worker: "absent" }).catch((error) => error);
  const deleted = await call(workers, "DeleteWorker", { worker: name });
  console.log(
    JSON.stringify({
      created: created.status.state,
      changed: [changed.change, changed.worker.spec.retry.maximumAttempts],
      output: invoked.outputs[0].textData,
      refused: grpc.status[refused.code],
      details: refused.metadata.get("grpc-status-details-bin").length,
      deleted: deleted.kind,
      watched: await watch.seen,
    }),
  );
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
