using System;
using System.Collections.Generic;
using System.Globalization;
using System.Text;
using System.Text.Json;

namespace WorkManager
{
    /// <summary>A CloudEvent: handed to a worker, or made by it as an output.</summary>
    /// <remarks>
    /// An event that came in is decoded only where a worker looks at it. Passing it on is allowed: its
    /// data goes out as it came, unless <see cref="Data"/> is set.
    /// </remarks>
    public sealed class CloudEvent
    {
        static readonly Dictionary<string, object?> Closed = new Dictionary<string, object?>();

        readonly Opener? _open;
        Dictionary<string, object?> _attributes;
        byte[] _wire;
        object? _data;
        bool _isDataKnown;

        /// <summary>Makes an output event; what is not set takes the worker's defaults.</summary>
        /// <param name="type">What happened; null takes the worker's default output type.</param>
        /// <param name="data">Anything System.Text.Json can write; bytes go out as they are.</param>
        public CloudEvent(string? type = null, object? data = null)
        {
            _attributes = new Dictionary<string, object?>(StringComparer.OrdinalIgnoreCase);
            _wire = Array.Empty<byte>();
            _data = data;
            _isDataKnown = true;
            this["type"] = type;
        }

        internal CloudEvent(byte[] wire, Opener open)
        {
            _attributes = Closed;
            _wire = wire;
            _open = open;
        }

        /// <summary>Reads the wire form of a received event; given by the host.</summary>
        internal delegate ReadOnlyMemory<byte>? Opener(
            byte[] wire, Dictionary<string, object?> attributes);

        /// <summary>Unique within the source; empty for an event made by a worker.</summary>
        public string Id => Text("id") ?? "";

        /// <summary>Where the event comes from.</summary>
        public string? Source { get => Text("source"); set => this["source"] = value; }

        /// <summary>What happened.</summary>
        public string? Type { get => Text("type"); set => this["type"] = value; }

        /// <summary>What it happened to, within the source.</summary>
        public string? Subject { get => Text("subject"); set => this["subject"] = value; }

        /// <summary>Media type of the data; null means JSON.</summary>
        public string? DataContentType
        {
            get => Text("datacontenttype");
            set => this["datacontenttype"] = value;
        }

        /// <summary>Events with the same key keep their order.</summary>
        public string? PartitionKey { get => Text("partitionkey"); set => this["partitionkey"] = value; }

        /// <summary>Topic to publish an output to; null takes the worker's output topic.</summary>
        public string? Topic { get; set; }

        /// <summary>When it happened; null where the event does not say, or cannot be read.</summary>
        public DateTimeOffset? Time =>
            DateTimeOffset.TryParse(
                Text("time"), CultureInfo.InvariantCulture, DateTimeStyles.RoundtripKind, out var time)
                ? time
                : (DateTimeOffset?)null;

        /// <summary>Whether this event came in, rather than being made by the worker.</summary>
        public bool IsReceived => _open != null;

        /// <summary>All attributes, extensions included; names in lower case.</summary>
        public IReadOnlyDictionary<string, object?> Attributes => Opened();

        /// <summary>The data as it came; empty if there is none.</summary>
        public ReadOnlyMemory<byte> RawData
        {
            get
            {
                Opened();
                return _raw ?? ReadOnlyMemory<byte>.Empty;
            }
        }

        /// <summary>
        /// The data: of a received event a <see cref="JsonElement"/>, for text/* a string, else
        /// bytes; null if there is none.
        /// </summary>
        public object? Data
        {
            get
            {
                if (!_isDataKnown)
                {
                    Opened();
                    _data = _raw is ReadOnlyMemory<byte> raw ? Decoded(raw) : null;
                    _isDataKnown = true;
                }
                return _data;
            }
            set
            {
                _data = value;
                _isDataKnown = true;
                IsDataSet = true;
            }
        }

        internal bool IsDataSet { get; private set; }

        internal bool HasRawData
        {
            get
            {
                Opened();
                return _raw != null;
            }
        }

        ReadOnlyMemory<byte>? _raw;

        /// <summary>An attribute or extension by name; null removes it.</summary>
        public object? this[string name]
        {
            get => Opened().TryGetValue(name, out var value) ? value : null;
            set
            {
                if (value == null)
                {
                    Opened().Remove(name);
                }
                else
                {
                    Opened()[name.ToLowerInvariant()] = value;
                }
            }
        }

        /// <summary>The data as <typeparamref name="T"/>, read by System.Text.Json.</summary>
        /// <exception cref="JsonException">It is no JSON of that shape.</exception>
        public T GetData<T>() => JsonSerializer.Deserialize<T>(RawData.Span, Json.Options)!;

        /// <inheritdoc/>
        public override string ToString() => $"CloudEvent {Type} {Id} from {Source}";

        string? Text(string name) => this[name] as string;

        Dictionary<string, object?> Opened()
        {
            if (ReferenceEquals(_attributes, Closed))
            {
                var found = new Dictionary<string, object?>(StringComparer.OrdinalIgnoreCase);
                _raw = _open!(_wire, found);
                _attributes = found;
                _wire = Array.Empty<byte>();
            }
            return _attributes;
        }

        object Decoded(ReadOnlyMemory<byte> raw)
        {
            var kind = MediaType.Of(DataContentType);
            if (kind == MediaKind.Text)
            {
                return Encoding.UTF8.GetString(raw.Span);
            }
            return kind == MediaKind.Json ? (object)JsonDocument.Parse(raw).RootElement : raw.ToArray();
        }
    }
}
