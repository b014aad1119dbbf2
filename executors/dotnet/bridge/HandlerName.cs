using System;

namespace WorkManager.Host
{
    /// <summary>What `handler` of the specification asks for; empty parts are to be looked up.</summary>
    /// <remarks>
    /// Namespace.Type.Method, Namespace.Type, Type.Method, or Assembly::Namespace.Type::Method.
    /// </remarks>
    readonly struct HandlerName
    {
        internal HandlerName(string text)
        {
            var parts = text.Split(new[] { "::" }, StringSplitOptions.None);
            Assembly = parts.Length == 3 ? parts[0] : "";
            Method = parts.Length > 1 ? parts[^1] : "";
            Path = parts.Length == 3 ? parts[1] : parts[0];
        }

        internal string Assembly { get; }

        /// <summary>A type; without Method it may end in one.</summary>
        internal string Path { get; }

        internal string Method { get; }
    }
}
