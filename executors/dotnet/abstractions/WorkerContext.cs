using System;
using System.Collections.Generic;
using System.Net.Http;
using System.Threading;

namespace WorkManager
{
    /// <summary>
    /// What a worker may know and ask for: a parameter of its handler, then it is about the attempt;
    /// or of its constructor, Start and Stop, then it is about the attempt that runs, if any.
    /// </summary>
    public abstract class WorkerContext
    {
        /// <summary>Id of the task, the same over all its attempts; empty outside of attempts.</summary>
        public abstract string TaskId { get; }

        /// <summary>Number of this attempt, from 1; 0 outside of attempts.</summary>
        public abstract int Attempt { get; }

        /// <summary>Attempts a task may have.</summary>
        public abstract int MaxAttempts { get; }

        /// <summary>Name of the worker.</summary>
        public abstract string Worker { get; }

        /// <summary>Id of the worker.</summary>
        public abstract string WorkerUid { get; }

        /// <summary>Version of the worker that runs here.</summary>
        public abstract string Version { get; }

        /// <summary>Group of the worker; null if it is in none.</summary>
        public abstract string? Group { get; }

        /// <summary>Rises with each owner of the group; null outside of groups.</summary>
        public abstract long? FencingToken { get; }

        /// <summary>
        /// W3C trace context to go on from: the attempt's span, else the event's; null if there is none.
        /// </summary>
        public abstract string? TraceParent { get; }

        /// <summary>
        /// Requests to the hosts that `egress` of the manifest allows; the service makes them. One client
        /// for all attempts. Redirects are answers, they are not followed.
        /// </summary>
        /// <exception cref="HttpRefusedException">The request is not allowed.</exception>
        public abstract HttpClient Http { get; }

        /// <summary>The worker's configuration.</summary>
        public abstract IReadOnlyDictionary<string, object?> Config { get; }

        /// <summary>Time left until this attempt is cancelled; infinite if it has all the time.</summary>
        public abstract TimeSpan Remaining { get; }

        /// <summary>When this attempt is cancelled; null if it has all the time.</summary>
        public DateTimeOffset? Deadline =>
            Remaining == Timeout.InfiniteTimeSpan
                ? (DateTimeOffset?)null
                : DateTimeOffset.UtcNow + Remaining;

        /// <summary>Cancelled when this attempt is asked to stop.</summary>
        public abstract CancellationToken CancellationToken { get; }

        /// <summary>Adds an output; it leaves when the attempt succeeds, in the order of the calls.</summary>
        /// <param name="data">A <see cref="CloudEvent"/>, or the data of one.</param>
        /// <param name="topic">Goes before the event's own; likewise the others.</param>
        /// <exception cref="InvalidOperationException">There is no attempt, or it has ended.</exception>
        public abstract void Publish(
            object? data, string? topic = null, string? type = null, string? subject = null);

        /// <summary>Tells that this attempt is alive, with anything JSON can hold as details.</summary>
        /// <exception cref="InvalidOperationException">There is no attempt, or it has ended.</exception>
        public abstract void Heartbeat(object? details = null);

        /// <summary>
        /// Fails one event of a batch; the others succeed with the batch. A <see cref="RetryException"/>
        /// and its like mean what they mean when thrown.
        /// </summary>
        /// <param name="received">One of the events that the handler was given.</param>
        /// <exception cref="InvalidOperationException">The handler takes no batches.</exception>
        /// <exception cref="ArgumentException">The event is not of this batch.</exception>
        public abstract void Fail(CloudEvent received, Exception error);

        /// <summary>The same, by the place in the batch, from 0.</summary>
        public abstract void Fail(int index, Exception error);

        /// <summary>Writes a line to this attempt's log.</summary>
        /// <param name="level">DEBUG, INFO, WARNING, ERROR or CRITICAL.</param>
        public abstract void Log(string level, string message);

        /// <summary>Writes a line at level DEBUG.</summary>
        public void LogDebug(string message) => Log("DEBUG", message);

        /// <summary>Writes a line at level INFO.</summary>
        public void LogInformation(string message) => Log("INFO", message);

        /// <summary>Writes a line at level WARNING.</summary>
        public void LogWarning(string message) => Log("WARNING", message);

        /// <summary>Writes a line at level ERROR.</summary>
        public void LogError(string message) => Log("ERROR", message);
    }
}
