using System;

namespace WorkManager
{
    /// <summary>Thrown by a worker: run this task again later.</summary>
    public class RetryException : Exception
    {
        /// <param name="message">Why; kept with the task.</param>
        /// <param name="after">When; null leaves it to the retry policy.</param>
        public RetryException(string message = "", TimeSpan? after = null)
            : base(message) => After = after;

        /// <summary>Time until the next attempt; null leaves it to the retry policy.</summary>
        public TimeSpan? After { get; }
    }

    /// <summary>Thrown by a worker: no attempt can succeed; the task goes to the dead letters.</summary>
    public class NonRetryableException : Exception
    {
        /// <param name="message">Why; kept with the dead letter.</param>
        /// <param name="type">Error type to report; null takes the exception's name.</param>
        public NonRetryableException(string message = "", string? type = null)
            : base(message) => Type = type;

        /// <summary>Error type to report; null takes the exception's name.</summary>
        public string? Type { get; }
    }

    /// <summary>Thrown by a worker: this task needs no handling; it ends as skipped.</summary>
    public class DropException : Exception
    {
        /// <param name="reason">Why; kept with the task.</param>
        public DropException(string reason = "")
            : base(reason)
        {
        }
    }

    /// <summary>A request that `egress` of the manifest does not allow; the message says what would.</summary>
    public class HttpRefusedException : NonRetryableException
    {
        /// <param name="message">Why.</param>
        public HttpRefusedException(string message)
            : base(message)
        {
        }
    }

    /// <summary>Marks the class that handles events where an assembly has several that could.</summary>
    [AttributeUsage(AttributeTargets.Class)]
    public sealed class WorkerAttribute : Attribute
    {
    }
}
