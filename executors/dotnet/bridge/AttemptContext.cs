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
            _environs.Control.Send(frame =>
            {
                frame.WriteArrayHeader(3);
                frame.WriteString("heartbeat");
                frame.WriteInt(attempt.No);
                frame.WriteBytes(body);
            });
        }

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
