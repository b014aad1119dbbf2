using System;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Reflection;

namespace WorkManager.Host
{
    /// <summary>The code cannot be run; the version is refused.</summary>
    sealed class Refusal : Exception
    {
        readonly string _reason;
        readonly string? _file;
        readonly int _line;
        readonly string _trace;

        Refusal(string reason, string message, string? file = null, int line = 0, string trace = "")
            : base(message)
        {
            _reason = reason;
            _file = file;
            _line = line;
            _trace = trace;
        }

        /// <summary>The code cannot be loaded or set up.</summary>
        internal static Refusal Build(string message) => new Refusal("BUILD_FAILED", message);

        /// <summary>There is no handler, or not exactly one, or none that can be called.</summary>
        internal static Refusal Handler(string message) => new Refusal("HANDLER_NOT_FOUND", message);

        /// <summary>User code threw while it was set up.</summary>
        internal static Refusal Thrown(string what, Exception error)
        {
            error = Verdict.Innermost(error);
            if (error is Refusal refusal)
            {
                return refusal;
            }
            if (error is FileNotFoundException || error is TypeLoadException || error is FileLoadException)
            {
                return Of(error);
            }
            var (file, line) = PlaceOf(error);
            var message = $"{what} failed: {error.GetType().Name}: {Verdict.MessageOf(error)}";
            return new Refusal("BUILD_FAILED", message, file, line, Verdict.TraceOf(error));
        }

        /// <summary>What an exception of loading means, in one line.</summary>
        internal static Refusal Of(Exception error)
        {
            error = Verdict.Innermost(error);
            switch (error)
            {
                case Refusal refusal:
                    return refusal;
                case ReflectionTypeLoadException broken:
                    var first = broken.LoaderExceptions.FirstOrDefault(found => found != null);
                    return first is null ? Build(OneLine(broken)) : Of(first);
                case FileNotFoundException missing when missing.FileName != null:
                    return Missing(new AssemblyName(missing.FileName));
                case BadImageFormatException broken:
                    return Build($"the assembly is damaged: {OneLine(broken)}");
                default:
                    return Build($"{error.GetType().Name}: {OneLine(error)}");
            }
        }

        /// <summary>refused = ["refused", {reason, message, file, line, traceback}]</summary>
        internal void Write(MsgpackWriter to)
        {
            to.WriteArrayHeader(2);
            to.WriteString("refused");
            to.WriteMapHeader(5);
            to.WriteString("reason");
            to.WriteString(_reason);
            to.WriteString("message");
            to.WriteString(Verdict.Cut(Message, 4096));
            to.WriteString("file");
            to.WriteString(_file);
            to.WriteString("line");
            if (_line > 0)
            {
                to.WriteInt(_line);
            }
            else
            {
                to.WriteNil();
            }
            to.WriteString("traceback");
            to.WriteString(Verdict.Cut(_trace, 16384));
        }

        static Refusal Missing(AssemblyName name)
        {
            var running = Environment.Version;
            return Build(
                name.Name == "System.Runtime" && name.Version?.Major > running.Major
                    ? $"a part of the upload is built for .NET {name.Version.Major}, this host runs .NET"
                        + $" {running}; install .NET {name.Version.Major}, or publish for net{running.Major}.0"
                    : $"{name.Name} {name.Version} is missing: it is neither in the upload nor part of"
                        + $" .NET {running}; upload the folder that `dotnet publish` makes");
        }

        static string OneLine(Exception error) =>
            string.Join(" ", Verdict.MessageOf(error).Split('\n').Select(line => line.Trim()));

        /// <summary>The innermost place in the stack that has a source file.</summary>
        static (string? File, int Line) PlaceOf(Exception error)
        {
            foreach (var frame in new StackTrace(error, fNeedFileInfo: true).GetFrames())
            {
                if (frame?.GetFileName() is string file)
                {
                    return (file, frame.GetFileLineNumber());
                }
            }
            return (null, 0);
        }
    }
}
