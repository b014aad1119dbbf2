using System;
using System.Collections;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Dynamic;
using System.Linq;
using System.Reflection;
using System.Text.Json;

namespace WorkManager.Host
{
    /// <summary>The form of the first release: events as dictionaries, in and out.</summary>
    /// <remarks>
    /// What comes out is an event if it says Type and Source, in any case, and nothing that is not an
    /// event's: a dictionary, an anonymous object or any other with such properties.
    /// </remarks>
    static class SeedForm
    {
        static readonly HashSet<string> Members = new HashSet<string>
        {
            "type", "source", "data", "topic", "subject", "id", "time", "specversion",
            "datacontenttype", "dataschema", "partitionkey",
        };

        static readonly ConcurrentDictionary<Type, PropertyInfo[]?> EventProperties =
            new ConcurrentDictionary<Type, PropertyInfo[]?>();

        /// <summary>An event as a dictionary: attributes in lower case, and decoded "data".</summary>
        internal static Dictionary<string, object?> ToDictionary(CloudEvent received)
        {
            var fields = new Dictionary<string, object?>(received.Attributes)
            {
                ["data"] = received.Data is JsonElement json ? Plain(json) : received.Data,
            };
            return fields;
        }

        /// <summary>The same for `dynamic`, with members instead of keys.</summary>
        internal static ExpandoObject ToExpando(CloudEvent received)
        {
            var expando = new ExpandoObject();
            var fields = (IDictionary<string, object?>)expando;
            foreach (var (name, value) in received.Attributes)
            {
                fields[name] = value;
            }
            fields["data"] = received.Data is JsonElement json ? Dynamic(json) : received.Data;
            return expando;
        }

        /// <summary>The fields of an event by lower-case name; null if the value is none.</summary>
        internal static Dictionary<string, object?>? FieldsOf(object value)
        {
            var fields = value switch
            {
                IEnumerable<KeyValuePair<string, object?>> pairs => FromPairs(pairs),
                IDictionary dictionary => FromDictionary(dictionary),
                _ => FromProperties(value),
            };
            return fields != null && IsEvent(fields.Keys) && fields["type"] is string ? fields : null;
        }

        /// <summary>Adds an event that `FieldsOf` has found.</summary>
        internal static void Add(Outputs outputs, Dictionary<string, object?> fields)
        {
            Dictionary<string, object>? extensions = null;
            foreach (var name in new[] { "dataschema", "partitionkey" })
            {
                if (fields.TryGetValue(name, out var value) && value != null)
                {
                    (extensions ??= new Dictionary<string, object>())[name] = value;
                }
            }
            outputs.Add(
                Text(fields, "topic"),
                Text(fields, "type"),
                Text(fields, "source"),
                Text(fields, "subject"),
                Text(fields, "datacontenttype"),
                fields.TryGetValue("data", out var data) ? data : null,
                extensions);
        }

        static bool IsEvent(ICollection<string> names) =>
            names.Contains("type") && names.Contains("source") && names.All(Members.Contains);

        static Dictionary<string, object?>? FromPairs(IEnumerable<KeyValuePair<string, object?>> pairs)
        {
            var fields = new Dictionary<string, object?>();
            foreach (var (name, value) in pairs)
            {
                fields[name.ToLowerInvariant()] = value;
            }
            return fields;
        }

        static Dictionary<string, object?>? FromDictionary(IDictionary dictionary)
        {
            var fields = new Dictionary<string, object?>();
            foreach (DictionaryEntry? found in dictionary)
            {
                var entry = found!.Value;
                if (!(entry.Key is string name))
                {
                    return null;
                }
                fields[name.ToLowerInvariant()] = entry.Value;
            }
            return fields;
        }

        static Dictionary<string, object?>? FromProperties(object value) =>
            EventProperties.GetOrAdd(value.GetType(), PropertiesOf)?.ToDictionary(
                property => property.Name.ToLowerInvariant(), property => property.GetValue(value));

        static PropertyInfo[]? PropertiesOf(Type type)
        {
            if (type.IsPrimitive || type == typeof(string) || typeof(IEnumerable).IsAssignableFrom(type))
            {
                return null;
            }
            var found = type.GetProperties(BindingFlags.Public | BindingFlags.Instance)
                .Where(property => property.CanRead && property.GetIndexParameters().Length == 0)
                .ToArray();
            return IsEvent(found.Select(property => property.Name.ToLowerInvariant()).ToHashSet())
                ? found
                : null;
        }

        static string? Text(Dictionary<string, object?> fields, string name)
        {
            if (!fields.TryGetValue(name, out var value) || value is null)
            {
                return null;
            }
            return value as string
                ?? (value as Uri)?.OriginalString
                ?? throw new OutputError($"{name}: a text is needed, not {value.GetType().Name}");
        }

        static object? Plain(JsonElement json) => json.ValueKind switch
        {
            JsonValueKind.Object => json.EnumerateObject().ToDictionaryLast(part => Plain(part.Value)),
            JsonValueKind.Array => json.EnumerateArray().Select(Plain).ToList(),
            _ => Scalar(json),
        };

        static object? Dynamic(JsonElement json)
        {
            switch (json.ValueKind)
            {
                case JsonValueKind.Array:
                    return json.EnumerateArray().Select(Dynamic).ToList();
                case JsonValueKind.Object:
                    var expando = new ExpandoObject();
                    foreach (var part in json.EnumerateObject())
                    {
                        ((IDictionary<string, object?>)expando)[part.Name] = Dynamic(part.Value);
                    }
                    return expando;
                default:
                    return Scalar(json);
            }
        }

        static object? Scalar(JsonElement json) => json.ValueKind switch
        {
            JsonValueKind.String => json.GetString(),
            JsonValueKind.Number => json.TryGetInt64(out var whole) ? whole : (object)json.GetDouble(),
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => null,
        };

        static Dictionary<string, object?> ToDictionaryLast(
            this JsonElement.ObjectEnumerator parts, Func<JsonProperty, object?> value)
        {
            var found = new Dictionary<string, object?>();
            foreach (var part in parts)
            {
                found[part.Name] = value(part); // of a name that comes twice the last one counts
            }
            return found;
        }
    }
}
