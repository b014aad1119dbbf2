using System;
using System.Collections;
using System.Collections.Generic;
using System.Threading.Tasks;

namespace WorkManager.Host
{
    /// <summary>What a handler returned, turned into outputs.</summary>
    static class Results
    {
        /// <summary>Adds a value: nothing, an event in one of its forms, a list of them, or data.</summary>
        internal static void Add(Outputs outputs, object? value)
        {
            if (value is null || TryAddEvent(outputs, value))
            {
                return;
            }
            if (value is IList list && !(value is byte[]) && list.Count > 0 && IsEvent(list[0]))
            {
                foreach (var item in list)
                {
                    AddListed(outputs, item);
                }
                return;
            }
            outputs.AddData(value);
        }

        internal static void AddEach(Outputs outputs, IEnumerable values)
        {
            foreach (var value in values)
            {
                Add(outputs, value);
            }
        }

        internal static async Task<object?> AddEachAsync<T>(
            Outputs outputs, IAsyncEnumerable<T> values)
        {
            await foreach (var value in values.ConfigureAwait(false))
            {
                Add(outputs, value);
            }
            return null;
        }

        static bool IsEvent(object? value) =>
            value is CloudEvent
            || (value != null && (SdkEvents.Is(value.GetType()) || SeedForm.FieldsOf(value) != null));

        static void AddListed(Outputs outputs, object? item)
        {
            if (item != null && !TryAddEvent(outputs, item))
            {
                throw new OutputError($"a list that begins with an event holds a {item.GetType().Name}, too");
            }
        }

        static bool TryAddEvent(Outputs outputs, object value)
        {
            if (value is CloudEvent made)
            {
                outputs.AddEvent(made);
            }
            else if (SdkEvents.Is(value.GetType()))
            {
                SdkEvents.Of(value.GetType()).Add(outputs, value);
            }
            else if (SeedForm.FieldsOf(value) is Dictionary<string, object?> fields)
            {
                SeedForm.Add(outputs, fields);
            }
            else
            {
                return false;
            }
            return true;
        }
    }
}
