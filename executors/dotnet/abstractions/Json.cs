using System;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace WorkManager
{
    /// <summary>How data becomes JSON and back: the web defaults of .NET, text left readable.</summary>
    public static class Json
    {
        const int Web = 1; // JsonSerializerDefaults.Web, which the reference assemblies do not have

        /// <summary>camelCase out, any case in, numbers may be quoted.</summary>
        public static readonly JsonSerializerOptions Options = Create();

        static JsonSerializerOptions Create()
        {
            var defaults = Type.GetType("System.Text.Json.JsonSerializerDefaults, System.Text.Json");
            var options = defaults is null
                ? new JsonSerializerOptions { PropertyNameCaseInsensitive = true }
                : (JsonSerializerOptions)Activator.CreateInstance(
                    typeof(JsonSerializerOptions), Enum.ToObject(defaults, Web))!;
            options.PropertyNamingPolicy = JsonNamingPolicy.CamelCase;
            options.Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping;
            return options;
        }
    }
}
