// output = [topic | nil, type | nil, source | nil, subject | nil, datacontenttype | nil,
//           data: bin | nil, extensions: map | nil]

using System;
using System.Collections.Generic;
using System.Globalization;
using System.Text;
using System.Text.Json;

namespace WorkManager.Host
{
    /// <summary>A value cannot become an output event.</summary>
    class OutputError : NonRetryableException
    {
        internal OutputError(string message)
            : base(message)
        {
        }
    }

    /// <summary>An attempt has more or larger outputs than its worker may have.</summary>
    sealed class OutputTooLarge : OutputError
    {
        internal OutputTooLarge(string message)
            : base(message)
        {
        }
    }

    /// <summary>The outputs of one attempt in wire form, bounded in number and size.</summary>
    sealed class Outputs
    {
        // One outcome has to fit a frame beside others that wait for the same flush.
        const int MaxTaskBytes = Frames.MaxBytes - (1024 * 1024);
        const string JsonType = "application/json";
        const string BytesType = "application/octet-stream";

        readonly MsgpackWriter _items = new MsgpackWriter();
        readonly int _maxCount;
        readonly int _maxBytes;
        int _count;

        internal Outputs(Job job)
        {
            _maxCount = job.MaxOutputs;
            _maxBytes = Math.Min(job.MaxOutputBytes, MaxTaskBytes);
        }

        internal int SizeBytes => _items.Length;

        /// <summary>Adds data without attributes of its own.</summary>
        internal void AddData(object? data) => Add(null, null, null, null, null, data, null);

        /// <summary>Adds an event; one that came in goes on with its data as it came.</summary>
        internal void AddEvent(
            CloudEvent made, string? topic = null, string? type = null, string? subject = null)
        {
            Dictionary<string, object>? extensions = null;
            foreach (var (name, value) in made.Attributes)
            {
                if (value != null && !IsOwn(name))
                {
                    (extensions ??= new Dictionary<string, object>())[name] = value;
                }
            }
            var isPassedOn = made.IsReceived && !made.IsDataSet;
            var data = isPassedOn ? (made.HasRawData ? (object)made.RawData : null) : made.Data;
            Add(
                topic ?? made.Topic,
                type ?? made.Type,
                made.Source,
                subject ?? made.Subject,
                made.DataContentType,
                data,
                extensions);
        }

        internal void Add(
            string? topic,
            string? type,
            string? source,
            string? subject,
            string? contentType,
            object? data,
            Dictionary<string, object>? extensions)
        {
            if (_count >= _maxCount)
            {
                throw new OutputTooLarge($"more than {_maxCount} outputs");
            }
            var begun = _items.Length;
            try
            {
                _items.WriteArrayHeader(7);
                _items.WriteString(Filled("topic", topic));
                _items.WriteString(Filled("type", type));
                _items.WriteString(Filled("source", source));
                _items.WriteString(Filled("subject", subject));
                WriteData(contentType, data);
                WriteExtensions(extensions);
                if (_items.Length > _maxBytes)
                {
                    throw new OutputTooLarge(
                        $"outputs of {_items.Length} bytes, {_maxBytes} are allowed");
                }
            }
            catch
            {
                _items.CutTo(begun); // the attempt may catch it and go on
                throw;
            }
            _count++;
        }

        internal void Write(MsgpackWriter to)
        {
            to.WriteArrayHeader(_count);
            to.WriteRaw(_items.Written);
        }

        static bool IsOwn(string name) => name switch
        {
            "type" => true,
            "source" => true,
            "subject" => true,
            "datacontenttype" => true,
            "id" => true,
            "specversion" => true,
            "time" => true,
            _ => false,
        };

        static string? Filled(string name, string? value) =>
            value is null || value.Length > 0 ? value : throw new OutputError($"{name}: is empty");

        void WriteData(string? contentType, object? data)
        {
            if (data is null)
            {
                _items.WriteString(Filled("datacontenttype", contentType));
                _items.WriteNil();
                return;
            }
            if (AsBytes(data) is ReadOnlyMemory<byte> bytes)
            {
                _items.WriteString(Filled("datacontenttype", contentType) ?? BytesType);
                _items.WriteBytes(bytes.Span);
                return;
            }
            _items.WriteString(Filled("datacontenttype", contentType) ?? JsonType);
            if (MediaType.Of(contentType) == MediaKind.Json)
            {
                WriteJson(data);
            }
            else
            {
                var text = data as string ?? throw new OutputError(
                    $"data of type {contentType} has to be bytes or text, not {data.GetType().Name}");
                _items.WriteBytes(Encoding.UTF8.GetBytes(text));
            }
        }

        void WriteJson(object data)
        {
            var begun = _items.BeginBytes();
            try
            {
                using var writer = new Utf8JsonWriter(
                    _items, new JsonWriterOptions { Encoder = Json.Options.Encoder });
                JsonSerializer.Serialize(writer, data, data.GetType(), Json.Options);
            }
            catch (Exception error) when (IsOfJson(error))
            {
                throw new OutputError($"{data.GetType().Name} cannot become JSON: {error.Message}");
            }
            _items.EndBytes(begun);
        }

        static bool IsOfJson(Exception error) =>
            error is JsonException || error is NotSupportedException || error is ArgumentException
            || error is InvalidOperationException;

        static ReadOnlyMemory<byte>? AsBytes(object data) => data switch
        {
            byte[] array => array,
            ReadOnlyMemory<byte> memory => memory,
            Memory<byte> memory => memory,
            ArraySegment<byte> segment => segment,
            _ => (ReadOnlyMemory<byte>?)null,
        };

        void WriteExtensions(Dictionary<string, object>? extensions)
        {
            if (extensions is null)
            {
                _items.WriteNil();
                return;
            }
            _items.WriteMapHeader(extensions.Count);
            foreach (var (name, value) in extensions)
            {
                _items.WriteString(Named(name));
                WriteExtension(name, value);
            }
        }

        static string Named(string name)
        {
            var isNamed = name.Length > 0 && name.Length <= 64;
            foreach (var letter in name)
            {
                isNamed &= (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9');
            }
            return isNamed
                ? name
                : throw new OutputError(
                    $"'{Verdict.Cut(name, 100)}' is no attribute name: lower-case letters and digits");
        }

        void WriteExtension(string name, object value)
        {
            switch (value)
            {
                case string text: _items.WriteString(text); break;
                case bool flag: _items.WriteBool(flag); break;
                case byte[] bytes: _items.WriteBytes(bytes); break;
                case int number: _items.WriteInt(number); break;
                case long number when number == (int)number: _items.WriteInt(number); break;
                case Uri uri: _items.WriteString(uri.OriginalString); break;
                case DateTimeOffset time:
                    _items.WriteString(time.ToString("O", CultureInfo.InvariantCulture));
                    break;
                default:
                    throw new OutputError(
                        $"{name}: an attribute is a text, a bool, bytes or a 32-bit whole number");
            }
        }
    }
}
