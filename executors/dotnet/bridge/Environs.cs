using System;
using System.Collections;
using System.Collections.Generic;
using System.Net.Http;
using System.Reflection;

namespace WorkManager.Host
{
    /// <summary>What every attempt of this executor shares, and what can be injected without one.</summary>
    sealed class Environs
    {
        const string LoggerName = "Microsoft.Extensions.Logging.ILogger";

        HttpClient? _http;

        internal Environs(Job job, LogSink logs, FrameWriter control)
        {
            Job = job;
            Logs = logs;
            Control = control;
            Desk = new Desk(control);
        }

        internal Job Job { get; }

        internal LogSink Logs { get; }

        internal FrameWriter Control { get; }

        internal Desk Desk { get; }

        /// <summary>Made when it is first asked for: most workers never do.</summary>
        internal HttpClient Http => _http ??= DeskHandler.Client(Desk);

        /// <summary>A logger, the client for requests, or the configuration; null if the type is none of these.</summary>
        internal object? For(Type type)
        {
            if (IsLogger(type))
            {
                return LoggerProxy.Make(type, Logs);
            }
            if (type == typeof(HttpClient))
            {
                return Http;
            }
            if (type == typeof(IReadOnlyDictionary<string, object>))
            {
                return Job.Config;
            }
            return type == typeof(IReadOnlyDictionary<string, string>) ? Variables() : null;
        }

        static bool IsLogger(Type type) =>
            type.IsInterface
            && (type.FullName == LoggerName
                || (type.IsGenericType && type.GetGenericTypeDefinition().FullName == LoggerName + "`1"));

        /// <summary>The environment: `env` of the specification is in it.</summary>
        static Dictionary<string, string> Variables()
        {
            var found = new Dictionary<string, string>();
            foreach (DictionaryEntry? entry in Environment.GetEnvironmentVariables())
            {
                var variable = entry!.Value;
                found[(string)variable.Key] = (string?)variable.Value ?? "";
            }
            return found;
        }
    }

    /// <summary>
    /// Implements the ILogger that a worker brings, whatever its release: no package of ours is needed.
    /// </summary>
    public class LoggerProxy : DispatchProxy
    {
        static readonly string[] Levels = { "DEBUG", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL" };
        const int NoLevel = 6; // LogLevel.None

        LogSink? _sink;

        internal static object Make(Type type, LogSink sink)
        {
            var create = typeof(DispatchProxy).GetMethod(nameof(Create), 2, Type.EmptyTypes)!;
            var made = create.MakeGenericMethod(type, typeof(LoggerProxy)).Invoke(null, null)!;
            ((LoggerProxy)made)._sink = sink;
            return made;
        }

        /// <inheritdoc/>
        protected override object? Invoke(MethodInfo? method, object?[]? arguments)
        {
            switch (method?.Name)
            {
                case "Log" when arguments!.Length == 5:
                    Log(Convert.ToInt32(arguments[0]), arguments);
                    return null;
                case "IsEnabled":
                    var level = Convert.ToInt32(arguments![0]);
                    return level >= 2 && level < NoLevel;
                default:
                    return null; // BeginScope: there are no scopes
            }
        }

        void Log(int level, object?[] arguments)
        {
            if (level < 2 || level >= NoLevel || !(arguments[4] is Delegate format))
            {
                return;
            }
            var text = Convert.ToString(format.DynamicInvoke(arguments[2], arguments[3])) ?? "";
            var error = arguments[3] is Exception thrown ? "\n" + thrown : "";
            _sink!.Line(Attempt.Current.Value, Levels[level], text + error);
        }
    }
}
