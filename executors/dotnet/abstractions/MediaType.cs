using System;

namespace WorkManager
{
    enum MediaKind
    {
        Json,
        Text,
        Other,
    }

    static class MediaType
    {
        /// <summary>Tells how data of a media type is read; absent means JSON (CloudEvents 1.0).</summary>
        internal static MediaKind Of(string? text)
        {
            if (text is null || text == "application/json")
            {
                return MediaKind.Json;
            }
            var end = text.IndexOf(';');
            var bare = (end < 0 ? text : text.Substring(0, end)).Trim().ToLowerInvariant();
            if (bare.EndsWith("+json", StringComparison.Ordinal)
                || bare.EndsWith("/json", StringComparison.Ordinal))
            {
                return MediaKind.Json;
            }
            return bare.StartsWith("text/", StringComparison.Ordinal) ? MediaKind.Text : MediaKind.Other;
        }
    }
}
