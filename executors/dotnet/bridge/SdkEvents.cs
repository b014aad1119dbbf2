using System;
using System.Collections.Concurrent;
using System.Globalization;
using System.Reflection;

namespace WorkManager.Host
{
    /// <summary>
    /// The CloudEvent type of the official SDK, known by its name only: a worker brings its own copy.
    /// </summary>
    sealed class SdkEvents
    {
        internal const string TypeName = "CloudNative.CloudEvents.CloudEvent";

        static readonly ConcurrentDictionary<Type, SdkEvents> Known =
            new ConcurrentDictionary<Type, SdkEvents>();

        readonly Type _type;
        readonly PropertyInfo _data;
        readonly MethodInfo _set;
        readonly MethodInfo _populated;

        SdkEvents(Type type)
        {
            _type = type;
            _data = Member(type.GetProperty("Data"), "Data");
            _set = Member(
                type.GetMethod("SetAttributeFromString", new[] { typeof(string), typeof(string) }),
                "SetAttributeFromString");
            _populated = Member(
                type.GetMethod("GetPopulatedAttributes", Type.EmptyTypes), "GetPopulatedAttributes");
        }

        internal static bool Is(Type type) => type.FullName == TypeName;

        internal static SdkEvents Of(Type type) => Known.GetOrAdd(type, found => new SdkEvents(found));

        /// <summary>Makes an event of the SDK's type of one that came in.</summary>
        internal object ToSdk(CloudEvent received)
        {
            var made = Activator.CreateInstance(_type)!;
            foreach (var (name, value) in received.Attributes)
            {
                if (name != "specversion" && value != null)
                {
                    Call(_set, made, name, Canonical(value));
                }
            }
            _data.SetValue(made, received.Data);
            return made;
        }

        /// <summary>Adds an event of the SDK's type to the outputs.</summary>
        internal void Add(Outputs outputs, object made)
        {
            var result = new CloudEvent();
            foreach (var pair in (System.Collections.IEnumerable)Call(_populated, made)!)
            {
                var type = pair!.GetType();
                var attribute = type.GetProperty("Key")!.GetValue(pair)!;
                var name = (string)attribute.GetType().GetProperty("Name")!.GetValue(attribute)!;
                var value = type.GetProperty("Value")!.GetValue(pair);
                result[name] = value is Uri uri ? uri.OriginalString : value;
            }
            result.Data = _data.GetValue(made);
            outputs.AddEvent(result);
        }

        /// <summary>The text of an attribute (CloudEvents 1.0, "Type System").</summary>
        static string Canonical(object value) => value switch
        {
            bool flag => flag ? "true" : "false",
            byte[] bytes => Convert.ToBase64String(bytes),
            _ => Convert.ToString(value, CultureInfo.InvariantCulture)!,
        };

        static object? Call(MethodInfo method, object target, params object?[] arguments) =>
            method.Invoke(target, BindingFlags.DoNotWrapExceptions, null, arguments, null);

        static T Member<T>(T? member, string name)
            where T : class =>
            member ?? throw Refusal.Build($"this release of {TypeName} has no {name}, which is needed");
    }
}
