using System;
using System.Globalization;
using System.Reflection;
using System.Text;

namespace WorkManager.Host
{
    /// <summary>How an attempt ended: a status, and for all but Ok an error.</summary>
    /// <remarks>
    /// outcome = [no, status, duration in us, outputs, nil | [type, message, traceback, after s | nil]]
    /// </remarks>
    readonly struct Verdict
    {
        internal const int Ok = 0;
        internal const int Error = 1;
        internal const int Retry = 2;
        internal const int NonRetryable = 3;
        internal const int Drop = 4;
        internal const int Cancelled = 5;

        const int MaxMessageBytes = 4 * 1024;
        const int MaxTraceBytes = 16 * 1024;
        const int MaxTypeChars = 200;

        readonly string _type;
        readonly string _message;
        readonly string _trace;
        readonly double? _afterSeconds;

        Verdict(int status, string type, string message, string trace = "", double? afterSeconds = null)
        {
            Status = status;
            _type = type;
            _message = message;
            _trace = trace;
            _afterSeconds = afterSeconds;
        }

        internal int Status { get; }

        internal static Verdict CancelledBefore =>
            new Verdict(Cancelled, "Cancelled", "cancelled before it began");

        /// <summary>What an exception means; exceptions of ours and of the worker's own by their names.</summary>
        internal static Verdict Of(Exception error, Attempt attempt)
        {
            try
            {
                return Described(Innermost(error), attempt);
            }
            catch (Exception failure)
            {
                // Members of an exception are user code, and nothing may escape to native frames.
                return new Verdict(Error, error.GetType().Name, $"<it cannot be described: {failure.GetType().Name}>");
            }
        }

        static Verdict Described(Exception error, Attempt attempt)
        {
            if (error is OperationCanceledException && attempt.IsCancelled)
            {
                return new Verdict(Cancelled, "Cancelled", MessageOf(error));
            }
            var name = error.GetType().Name;
            for (var type = error.GetType(); type != null && type != typeof(Exception); type = type.BaseType)
            {
                switch (type.Name)
                {
                    case "Retry":
                    case "RetryException":
                        return new Verdict(Retry, name, MessageOf(error), "", AfterOf(error));
                    case "NonRetryable":
                    case "NonRetryableException":
                        var said = Property(error, "Type") as string;
                        return new Verdict(NonRetryable, said ?? name, MessageOf(error), TraceOf(error));
                    case "Drop":
                    case "DropException":
                        return new Verdict(Drop, name, MessageOf(error));
                }
            }
            return new Verdict(Error, name, MessageOf(error), TraceOf(error));
        }

        internal void Write(MsgpackWriter to, long no, long microseconds, Outputs? outputs)
        {
            to.WriteArrayHeader(5);
            to.WriteInt(no);
            to.WriteInt(Status);
            to.WriteInt(Math.Max(0, microseconds));
            if (outputs is null)
            {
                to.WriteArrayHeader(0);
            }
            else
            {
                outputs.Write(to);
            }
            if (Status == Ok)
            {
                to.WriteNil();
                return;
            }
            to.WriteArrayHeader(4);
            to.WriteString(Cut(_type, MaxTypeChars));
            to.WriteString(Cut(_message, MaxMessageBytes));
            to.WriteString(Cut(_trace, MaxTraceBytes));
            if (_afterSeconds is double after)
            {
                to.WriteDouble(after);
            }
            else
            {
                to.WriteNil();
            }
        }

        /// <summary>The exception that user code threw, below those that only carry it.</summary>
        internal static Exception Innermost(Exception error)
        {
            while (true)
            {
                switch (error)
                {
                    case TargetInvocationException carrier when carrier.InnerException != null:
                        error = carrier.InnerException;
                        break;
                    case AggregateException group when group.InnerExceptions.Count == 1:
                        error = group.InnerExceptions[0];
                        break;
                    default:
                        return error;
                }
            }
        }

        /// <summary>The exception with its stack, without the frames of this host.</summary>
        internal static string TraceOf(Exception error)
        {
            var trace = new StringBuilder();
            foreach (var line in ToStringQuietly(error).Split('\n'))
            {
                if (!IsOurs(line.TrimStart()))
                {
                    trace.Append(line.TrimEnd()).Append('\n');
                }
            }
            return trace.ToString();
        }

        internal static string MessageOf(Exception error)
        {
            try
            {
                return error.Message ?? "";
            }
            catch (Exception failure)
            {
                return $"<its message cannot be shown: {failure.GetType().Name}>";
            }
        }

        /// <summary>The head of a text that fits, cut between characters.</summary>
        internal static string Cut(string text, int limitBytes)
        {
            if (text.Length <= limitBytes / 3 || Encoding.UTF8.GetByteCount(text) <= limitBytes)
            {
                return text;
            }
            var length = Math.Min(text.Length, limitBytes);
            while (Encoding.UTF8.GetByteCount(text.AsSpan(0, length)) > limitBytes)
            {
                length -= Math.Max(1, length / 64);
            }
            return text.Substring(0, length > 0 && char.IsHighSurrogate(text[length - 1]) ? length - 1 : length);
        }

        static bool IsOurs(string line) =>
            line.StartsWith("at WorkManager.Host.", StringComparison.Ordinal)
            || line.StartsWith("at System.RuntimeMethodHandle.InvokeMethod", StringComparison.Ordinal)
            || line.StartsWith("at System.Reflection.Method", StringComparison.Ordinal)
            || line.StartsWith("at InvokeStub_", StringComparison.Ordinal);

        static string ToStringQuietly(Exception error)
        {
            try
            {
                return error.ToString() ?? error.GetType().Name;
            }
            catch (Exception failure)
            {
                return $"<the traceback cannot be shown: {failure.GetType().Name}>";
            }
        }

        static double? AfterOf(Exception error)
        {
            switch (Property(error, "After"))
            {
                case TimeSpan time: return Math.Max(0, time.TotalSeconds);
                case null: return null;
                case IConvertible number: return Seconds(number);
                default: return null;
            }
        }

        static double? Seconds(IConvertible number)
        {
            try
            {
                return Math.Max(0, number.ToDouble(CultureInfo.InvariantCulture));
            }
            catch (Exception error) when (error is FormatException || error is InvalidCastException)
            {
                return null;
            }
        }

        static object? Property(Exception error, string name)
        {
            try
            {
                return error.GetType().GetProperty(name)?.GetValue(error);
            }
            catch (Exception)
            {
                return null; // a getter of user code that throws says nothing
            }
        }
    }
}
