using System;
using System.Collections.Generic;

namespace WorkManager.Host
{
    /// <summary>One version of one worker, as this executor runs it: the body of a LOAD frame.</summary>
    sealed class Job
    {
        readonly Dictionary<string, object?> _fields;

        Job(Dictionary<string, object?> fields) => _fields = fields;

        /// <summary>Hands a single assembly over; empty if there is a folder.</summary>
        internal byte[] TakeCode() =>
            _fields.Remove("code", out var code) && code is byte[] bytes ? bytes : Array.Empty<byte>();

        /// <summary>Folder of a published worker; empty if there is a single assembly.</summary>
        internal string Folder => Text("folder");

        /// <summary>Name of the worker's assembly in the folder; empty to find out.</summary>
        internal string Assembly => Text("assembly");

        internal string Handler => Text("handler");

        internal string Worker => Text("worker");

        internal string WorkerUid => Text("workerUid");

        internal string Version => Text("version");

        internal string? Group => _fields.TryGetValue("group", out var group) ? group as string : null;

        internal int PerExecutor => Math.Max(1, Number("perExecutor"));

        internal TimeSpan StartToClose => TimeSpan.FromSeconds(Seconds("startToCloseS"));

        internal int MaxAttempts => Number("maxAttempts");

        internal int MaxOutputs => Number("maxOutputs");

        internal int MaxOutputBytes => Number("maxOutputBytes");

        internal int LogLimitBytes => Number("logLimitBytes");

        internal IReadOnlyDictionary<string, object?> Config =>
            _fields.TryGetValue("config", out var found) && found is Dictionary<string, object?> config
                ? config
                : new Dictionary<string, object?>();

        internal static Job Parse(ref ReadOnlySpan<byte> body)
        {
            var reader = new MsgpackReader(body);
            return reader.ReadObject() is Dictionary<string, object?> fields
                ? new Job(fields)
                : throw new ProtocolException("load: a map is needed");
        }

        string Text(string name) =>
            _fields.TryGetValue(name, out var value) && value is string text ? text : "";

        int Number(string name) =>
            _fields.TryGetValue(name, out var value) && value is long number
                ? (int)Math.Clamp(number, 0, int.MaxValue)
                : throw new ProtocolException($"load: {name} is no whole number");

        double Seconds(string name) =>
            _fields.TryGetValue(name, out var value)
                ? value is long whole ? whole : value as double? ?? 0.0
                : 0.0;
    }
}
