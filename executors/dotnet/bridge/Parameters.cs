using System;
using System.Collections.Generic;
using System.Dynamic;
using System.Reflection;
using System.Text;
using System.Text.Json;
using System.Threading;

namespace WorkManager.Host
{
    /// <summary>The data of an event is not what its handler takes, or not what its type says.</summary>
    sealed class DataError : NonRetryableException
    {
        internal DataError(string message)
            : base(message)
        {
        }
    }

    /// <summary>What a handler's parameters are bound to, by their types.</summary>
    static class Parameters
    {
        internal delegate object? Binding(Attempt attempt);

        /// <summary>Binds every parameter of a handler; refuses one that nothing fits.</summary>
        internal static Binding[] Bind(MethodInfo method, Environs environs, bool isBatch) =>
            Array.ConvertAll(
                method.GetParameters(), parameter => Bind(method, parameter, environs, isBatch));

        static Binding Bind(MethodInfo method, ParameterInfo parameter, Environs environs, bool isBatch)
        {
            var type = parameter.ParameterType;
            var shared = environs.For(type);
            if (shared != null)
            {
                return _ => shared;
            }
            if (type == typeof(WorkerContext))
            {
                return attempt => new AttemptContext(environs, attempt);
            }
            if (type == typeof(CancellationToken))
            {
                return attempt => attempt.Token;
            }
            if (isBatch)
            {
                return OfBatch(type) ?? throw Refusal.Handler(
                    $"{HandlerSearch.NameOf(method)}: parameter '{parameter.Name}' of type {type.Name} cannot"
                    + " be given; a handler of batches takes a list of CloudEvent, or of data");
            }
            return OfEvent(type) ?? OfData(type) ?? throw Refusal.Handler(
                $"{HandlerSearch.NameOf(method)}: parameter '{parameter.Name}' of type {type.Name} cannot be"
                + " given; it may be a CloudEvent, WorkerContext, CancellationToken, ILogger, HttpClient, or data: a"
                + " class, JsonElement, string, byte[], Dictionary<string, object>");
        }

        /// <summary>Parameters that take a list: of what a handler of single events takes.</summary>
        static Binding? OfBatch(Type type)
        {
            var element = type.IsArray ? type.GetElementType()
                : type.IsGenericType && type.GetGenericArguments().Length == 1 ? type.GetGenericArguments()[0]
                : null;
            if (element is null || !((OfEvent(element) ?? OfData(element)) is Binding bind))
            {
                return null;
            }
            Array Filled(Attempt attempt)
            {
                var batch = attempt.Batch!;
                var list = Array.CreateInstance(element, batch.Length);
                for (var i = 0; i < batch.Length; i++)
                {
                    list.SetValue(bind(batch[i]), i);
                }
                return list;
            }
            if (type.IsAssignableFrom(element.MakeArrayType()))
            {
                return Filled;
            }
            return type == typeof(List<>).MakeGenericType(element)
                ? attempt => Activator.CreateInstance(type, Filled(attempt))
                : (Binding?)null;
        }

        /// <summary>Parameters that take the whole event.</summary>
        static Binding? OfEvent(Type type)
        {
            if (type == typeof(CloudEvent))
            {
                return attempt => attempt.Event;
            }
            if (SdkEvents.Is(type))
            {
                var sdk = SdkEvents.Of(type);
                return attempt => sdk.ToSdk(Decoded(attempt));
            }
            if (type == typeof(object) || type == typeof(ExpandoObject))
            {
                return attempt => SeedForm.ToExpando(Decoded(attempt));
            }
            if (type.IsAssignableFrom(typeof(Dictionary<string, object?>)))
            {
                return attempt => SeedForm.ToDictionary(Decoded(attempt));
            }
            return null;
        }

        /// <summary>Parameters that take the data alone.</summary>
        static Binding? OfData(Type type)
        {
            if (type == typeof(string))
            {
                return attempt => attempt.Event.HasRawData
                    ? Encoding.UTF8.GetString(attempt.Event.RawData.Span)
                    : null;
            }
            if (type == typeof(byte[]))
            {
                return attempt => attempt.Event.RawData.ToArray();
            }
            if (type == typeof(ReadOnlyMemory<byte>))
            {
                return attempt => attempt.Event.RawData;
            }
            if (type == typeof(JsonElement))
            {
                return attempt => Parsed(attempt).RootElement;
            }
            if (type == typeof(JsonDocument))
            {
                return Parsed;
            }
            var cannot = type.IsByRef || type.IsPointer || type.ContainsGenericParameters
                || typeof(Delegate).IsAssignableFrom(type)
                || (type.IsInterface && !type.IsGenericType);
            return cannot ? (Binding?)null : attempt => Deserialized(attempt, type);
        }

        static JsonDocument Parsed(Attempt attempt) => OfJson(
            attempt,
            () => JsonDocument.Parse(
                attempt.Event.HasRawData ? attempt.Event.RawData : Encoding.UTF8.GetBytes("null")));

        static object? Deserialized(Attempt attempt, Type type)
        {
            if (!attempt.Event.HasRawData)
            {
                return type.IsValueType ? Activator.CreateInstance(type) : null;
            }
            return OfJson(
                attempt,
                () => JsonSerializer.Deserialize(attempt.Event.RawData.Span, type, Json.Options));
        }

        static CloudEvent Decoded(Attempt attempt) => OfJson(
            attempt,
            () =>
            {
                _ = attempt.Event.Data;
                return attempt.Event;
            },
            orOther: true);

        static T OfJson<T>(Attempt attempt, Func<T> read, bool orOther = false)
        {
            var type = attempt.Event.DataContentType;
            if (!orOther && attempt.Event.HasRawData && MediaType.Of(type) != MediaKind.Json)
            {
                throw new DataError($"data is {type}; the handler takes JSON");
            }
            try
            {
                return read();
            }
            catch (Exception error) when (error is JsonException || error is NotSupportedException)
            {
                throw new DataError($"data is not what the handler takes: {error.Message}");
            }
        }
    }
}
