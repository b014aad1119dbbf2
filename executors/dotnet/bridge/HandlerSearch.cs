using System;
using System.Collections.Generic;
using System.Linq;
using System.Reflection;

namespace WorkManager.Host
{
    /// <summary>Finds the one method that handles events, or says which ones there are.</summary>
    static class HandlerSearch
    {
        const BindingFlags Members = BindingFlags.Public | BindingFlags.Instance | BindingFlags.Static
            | BindingFlags.FlattenHierarchy;

        static readonly string[] KnownNames =
        {
            "ProcessBatch", "ProcessBatchAsync", "Process", "ProcessAsync",
        };

        internal static MethodInfo Find(Assembly assembly, HandlerName wanted)
        {
            var types = assembly.GetTypes().Where(CanHandle).ToArray();
            var found = wanted.Path.Length == 0
                ? Preferred(types.SelectMany(type => Methods(type, KnownNames)).ToArray())
                : Named(types, wanted);
            found = BatchesFirst(found);
            if (found.Count == 1)
            {
                return found[0];
            }
            throw found.Count == 0 ? NotFound(types, wanted) : Ambiguous(found);
        }

        /// <summary>Tells whether a method takes a list of events, which its name says.</summary>
        internal static bool IsBatch(MethodInfo method) =>
            method.Name.EndsWith("Batch", StringComparison.Ordinal)
            || method.Name.EndsWith("BatchAsync", StringComparison.Ordinal);

        static IReadOnlyList<MethodInfo> BatchesFirst(IReadOnlyList<MethodInfo> found)
        {
            var batches = found.Where(IsBatch).ToArray();
            return batches.Length > 0 ? batches : found;
        }

        static bool CanHandle(Type type) =>
            type.IsClass && !type.ContainsGenericParameters && (!type.IsAbstract || type.IsSealed)
            && !type.Name.StartsWith("<", StringComparison.Ordinal);

        static IEnumerable<MethodInfo> Methods(Type type, params string[] names) =>
            type.GetMethods(Members).Where(
                method => names.Contains(method.Name) && (method.IsStatic || !type.IsAbstract));

        /// <summary>Those marked with [Worker], else those of public types, else all.</summary>
        static IReadOnlyList<MethodInfo> Preferred(MethodInfo[] found)
        {
            var marked = Array.FindAll(found, method => IsMarked(method.ReflectedType!));
            var visible = Array.FindAll(found, method => method.ReflectedType!.IsVisible);
            return marked.Length > 0 ? marked : visible.Length > 0 ? visible : found;
        }

        static bool IsMarked(Type type) =>
            type.GetCustomAttributesData().Any(mark => mark.AttributeType.Name == "WorkerAttribute");

        static IReadOnlyList<MethodInfo> Named(Type[] types, HandlerName wanted)
        {
            if (wanted.Method.Length > 0)
            {
                return Methods(OfName(types, wanted.Path), wanted.Method);
            }
            var asType = Methods(OfName(types, wanted.Path), KnownNames);
            var dot = wanted.Path.LastIndexOf('.');
            return asType.Count > 0 || dot < 0
                ? asType
                : Methods(OfName(types, wanted.Path.Substring(0, dot)), wanted.Path.Substring(dot + 1));
        }

        static IReadOnlyList<MethodInfo> Methods(IEnumerable<Type> types, params string[] names) =>
            types.SelectMany(type => Methods(type, names)).ToArray();

        /// <summary>The type of that full name, else those of that name in any namespace.</summary>
        static Type[] OfName(Type[] types, string name)
        {
            var exact = Array.FindAll(types, type => type.FullName == name);
            return exact.Length > 0 ? exact : Array.FindAll(types, type => type.Name == name);
        }

        static Refusal NotFound(Type[] types, HandlerName wanted)
        {
            var what = wanted.Path.Length == 0
                ? "no public Process or ProcessAsync in any class"
                : $"no public method for handler '{wanted.Path}{Suffix(wanted)}'";
            var near = types.SelectMany(type => type.GetMethods(Members | BindingFlags.DeclaredOnly))
                .Where(method => !method.IsSpecialName && method.ReflectedType!.IsVisible)
                .ToArray();
            return Refusal.Handler(
                near.Length == 0 ? what : $"{what}; the public methods are {Listed(near)}");
        }

        static string Suffix(HandlerName wanted) =>
            wanted.Method.Length > 0 ? "::" + wanted.Method : "";

        static Refusal Ambiguous(IReadOnlyList<MethodInfo> found)
        {
            var names = found.Select(NameOf).Distinct().Count();
            return Refusal.Handler(
                names == 1
                    ? $"{NameOf(found[0])} has {found.Count} overloads; leave one, or name another method"
                    : $"several methods could be the handler: {Listed(found)}; name one in `handler`");
        }

        static string Listed(IEnumerable<MethodInfo> methods) => string.Join(
            ", ", methods.Select(NameOf).Distinct().OrderBy(name => name, StringComparer.Ordinal).Take(8));

        internal static string NameOf(MethodInfo method) =>
            $"{method.ReflectedType!.FullName}.{method.Name}";
    }
}
