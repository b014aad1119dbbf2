using System;
using System.Collections;
using System.Collections.Generic;
using System.Linq;
using System.Reflection;
using System.Threading.Tasks;

namespace WorkManager.Host
{
    /// <summary>How what a handler returns comes to its outputs; worked out once, by its type.</summary>
    /// <remarks>
    /// A task is awaited and its result treated likewise. What is declared as a sequence
    /// (IEnumerable, IAsyncEnumerable) is a stream: one output each. Everything else is one value.
    /// </remarks>
    sealed class Awaiting
    {
        const BindingFlags Own = BindingFlags.NonPublic | BindingFlags.Static;

        readonly Func<object, Task<object?>>? _await; // of a task: its result
        readonly Func<Outputs, object, Task<object?>>? _stream; // of an asynchronous sequence
        readonly bool _isSequence;

        Awaiting(Type returned)
        {
            var value = returned;
            if (ResultOfTask(returned) is Type result)
            {
                _await = Maker<Func<object, Task<object?>>>(nameof(Await), returned, result);
                value = result;
            }
            if (GenericOf(value, typeof(IAsyncEnumerable<>)) is Type item)
            {
                _stream = Maker<Func<Outputs, object, Task<object?>>>(nameof(Stream), value, item);
            }
            _isSequence = value.IsInterface && value.IsGenericType
                && value.GetGenericTypeDefinition() == typeof(IEnumerable<>);
        }

        internal bool IsAsync => _await != null || _stream != null;

        internal static Awaiting Of(MethodInfo method) => new Awaiting(method.ReturnType);

        /// <summary>Adds what was returned to the outputs; null if that is done already.</summary>
        internal Task? Collect(Func<Outputs> outputs, object? returned)
        {
            if (returned is null)
            {
                return null;
            }
            if (_await != null)
            {
                var result = _await(returned);
                if (!result.IsCompletedSuccessfully)
                {
                    return CollectLater(outputs, result);
                }
                returned = result.Result;
            }
            return CollectValue(outputs, returned);
        }

        async Task CollectLater(Func<Outputs> outputs, Task<object?> result)
        {
            var rest = CollectValue(outputs, await result.ConfigureAwait(false));
            if (rest != null)
            {
                await rest.ConfigureAwait(false);
            }
        }

        Task? CollectValue(Func<Outputs> outputs, object? value)
        {
            if (value is null)
            {
                return null;
            }
            if (_stream != null)
            {
                return _stream(outputs(), value);
            }
            if (_isSequence)
            {
                Results.AddEach(outputs(), (IEnumerable)value);
            }
            else
            {
                Results.Add(outputs(), value);
            }
            return null;
        }

        /// <summary>The type of a task's result, void for one without; null for what is no task.</summary>
        static Type? ResultOfTask(Type type)
        {
            if (type == typeof(Task) || type == typeof(ValueTask))
            {
                return typeof(void);
            }
            return GenericOf(type, typeof(Task<>)) ?? GenericOf(type, typeof(ValueTask<>));
        }

        /// <summary>T of a generic type or of the interface of that kind that a type has.</summary>
        static Type? GenericOf(Type type, Type definition)
        {
            var candidates = definition.IsInterface ? type.GetInterfaces().Append(type) : new[] { type };
            return candidates.FirstOrDefault(
                one => one.IsGenericType && one.GetGenericTypeDefinition() == definition)
                ?.GetGenericArguments()[0];
        }

        static T Maker<T>(string name, Type returned, Type item)
            where T : Delegate
        {
            var isValueTask = returned == typeof(ValueTask)
                || (returned.IsGenericType && returned.GetGenericTypeDefinition() == typeof(ValueTask<>));
            var full = (isValueTask ? name + "Value" : name) + (item == typeof(void) ? "Nothing" : "");
            var method = typeof(Awaiting).GetMethod(full, Own)!;
            var closed = method.IsGenericMethodDefinition ? method.MakeGenericMethod(item) : method;
            return (T)closed.CreateDelegate(typeof(T));
        }

        static async Task<object?> Await<T>(object task) =>
            await ((Task<T>)task).ConfigureAwait(false);

        static async Task<object?> AwaitValue<T>(object task) =>
            await ((ValueTask<T>)task).ConfigureAwait(false);

        static async Task<object?> AwaitNothing(object task)
        {
            await ((Task)task).ConfigureAwait(false);
            return null;
        }

        static async Task<object?> AwaitValueNothing(object task)
        {
            await ((ValueTask)task).ConfigureAwait(false);
            return null;
        }

        static Task<object?> Stream<T>(Outputs outputs, object values) =>
            Results.AddEachAsync(outputs, (IAsyncEnumerable<T>)values);
    }
}
