using System;
using System.Collections.Generic;
using System.Net.Http;
using System.Text.Json;
using System.Threading;

namespace WorkManager.Host
{
    /// <summary>The context of one attempt, or, made without one, of whichever runs.</summary>
    sealed class AttemptContext : WorkerContext
    {
        const int MaxHeartbeatBytes = 64 * 1024;

        readonly Environs _environs;
        readonly Attempt? _own;

        internal AttemptContext(Environs environs, Attempt? own)
        {
            _environs = environs;
            _own = own;
        }

        public override string TaskId => Present?.TaskNumber.ToString("x") ?? "";

        public override int Attempt => Present?.Number ?? 0;

        public override int MaxAttempts => _environs.Job.MaxAttempts;

        public override string Worker => _environs.Job.Worker;

        public override string WorkerUid => _environs.Job.WorkerUid;

        public override string Version => _environs.Job.Version;

        public override string? Group => _environs.Job.Group;

        public override long? FencingToken => Present?.Fence;

        public override string? TraceParent => Present?.Event["traceparent"] as string;

        public override HttpClient Http => _environs.Http;

        public override IReadOnlyDictionary<string, object?> Config => _environs.Job.Config;

        public override CancellationToken CancellationToken => Present?.Token ?? CancellationToken.None;

        public override TimeSpan Remaining
        {
            get
            {
                var limit = _environs.Job.StartToClose;
                if (!(Present is Attempt attempt) || limit <= TimeSpan.Zero)
                {
                    return Timeout.InfiniteTimeSpan;
                }
                var left = limit - attempt.Elapsed;
                return left > TimeSpan.Zero ? left : TimeSpan.Zero;
            }
        }

        Attempt? Present => _own ?? Host.Attempt.Current.Value;

        public override void Log(string level, string message) =>
            _environs.Logs.Line(Present, level, message);

        public override void Publish(
            object? data, string? topic = null, string? type = null, string? subject = null)
        {
            var attempt = Open("Publish");
            lock (attempt)
            {
                attempt.Outputs ??= new Outputs(_environs.Job);
                if (data is CloudEvent made)
                {
                    attempt.Outputs.AddEvent(made, topic, type, subject);
                }
                else
                {
                    attempt.Outputs.Add(topic, type, null, subject, null, data, null);
                }
            }
        }

        public override void Heartbeat(object? details = null)
        {
            var attempt = Open("Heartbeat");
            var body = JsonSerializer.SerializeToUtf8Bytes(details, Json.Options);
            if (body.Length > MaxHeartbeatBytes)
            {
                throw new OutputTooLarge($"heartbeat of {body.Length} bytes, {MaxHeartbeatBytes} allowed");
            }
            foreach (var one in attempt.Batch ?? new[] { attempt })
            {
                _environs.Control.Send(frame =>
                {
                    frame.WriteArrayHeader(3);
                    frame.WriteString("heartbeat");
                    frame.WriteInt(one.No);
                    frame.WriteBytes(body);
                });
            }
        }

        public override void Fail(CloudEvent received, Exception error)
        {
            var batch = BatchOf(Open("Fail"));
            Fail(Array.FindIndex(batch, one => ReferenceEquals(one.Event, received)), error);
        }

        public override void Fail(int index, Exception error)
        {
            var attempt = Open("Fail");
            var batch = BatchOf(attempt);
            if (index < 0 || index >= batch.Length)
            {
                throw new ArgumentException($"Fail: there is no such event in the batch of {batch.Length}");
            }
            lock (attempt)
            {
                attempt.Failures ??= new Dictionary<int, Verdict>();
                attempt.Failures[index] = Verdict.Of(error, attempt);
            }
        }

        static Attempt[] BatchOf(Attempt attempt) =>
            attempt.Batch ?? throw new InvalidOperationException("Fail is for handlers of batches");

        Attempt Open(string what)
        {
            var attempt = Present
                ?? throw new InvalidOperationException($"{what} works inside of an attempt only");
            return attempt.IsDone
                ? throw new InvalidOperationException($"{what} was called after its attempt had ended")
                : attempt;
        }
    }
}
