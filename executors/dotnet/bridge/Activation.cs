using System;
using System.Linq;
using System.Reflection;

namespace WorkManager.Host
{
    /// <summary>Makes the worker's object, once per executor.</summary>
    static class Activation
    {
        /// <summary>Calls the constructor with the most parameters that all can be given.</summary>
        internal static object Make(Type type, Environs environs)
        {
            var constructors = type.GetConstructors()
                .OrderByDescending(constructor => constructor.GetParameters().Length)
                .ToArray();
            var fitting = constructors.FirstOrDefault(
                constructor => constructor.GetParameters().All(one => Value(one, environs) != null));
            if (fitting is null)
            {
                throw Refusal.Handler(Complaint(type, constructors, environs));
            }
            try
            {
                var values = fitting.GetParameters().Select(one => Value(one, environs)).ToArray();
                return fitting.Invoke(BindingFlags.DoNotWrapExceptions, null, values, null);
            }
            catch (Exception error)
            {
                throw Refusal.Thrown($"new {type.Name}()", error);
            }
        }

        static object? Value(ParameterInfo parameter, Environs environs)
        {
            if (parameter.ParameterType == typeof(WorkerContext))
            {
                return new AttemptContext(environs, null);
            }
            return environs.For(parameter.ParameterType)
                ?? (parameter.HasDefaultValue ? parameter.DefaultValue : null);
        }

        static string Complaint(Type type, ConstructorInfo[] constructors, Environs environs)
        {
            var unknown = constructors.SelectMany(constructor => constructor.GetParameters())
                .FirstOrDefault(parameter => Value(parameter, environs) is null);
            return unknown is null
                ? $"{type.FullName} has no public constructor; give it one, or make the handler static"
                : $"{type.FullName}: constructor parameter '{unknown.Name}' of type"
                    + $" {unknown.ParameterType.Name} cannot be given; it may be a WorkerContext, an ILogger"
                    + " or ILogger<T>, an HttpClient, an IReadOnlyDictionary<string, string> of the environment, or one of"
                    + " <string, object> of the configuration";
        }
    }
}
