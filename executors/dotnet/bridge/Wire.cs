// wire = msgpack([attributes: map text -> text | int | bool | bytes, data: bin | nil])

using System;
using System.Collections.Generic;
using System.Text;

namespace WorkManager.Host
{
    /// <summary>Reads the wire form of an event.</summary>
    static class Wire
    {
        static readonly string[] KnownNames =
        {
            "id", "source", "type", "specversion", "time", "subject", "datacontenttype",
            "dataschema", "partitionkey", "traceparent",
        };

        static readonly byte[][] KnownBytes = Array.ConvertAll(KnownNames, Encoding.ASCII.GetBytes);

        /// <summary>Puts the attributes into a dictionary; returns the data, null if there is none.</summary>
        internal static ReadOnlyMemory<byte>? Open(byte[] wire, Dictionary<string, object?> attributes)
        {
            var reader = new MsgpackReader(wire);
            _ = reader.ReadArrayHeader();
            var count = reader.ReadMapHeader();
            for (var i = 0; i < count; i++)
            {
                var name = NameOf(reader.ReadText());
                attributes[name] = reader.ReadObject();
            }
            if (reader.TryReadNil())
            {
                return null;
            }
            var size = reader.ReadBytes().Length;
            return wire.AsMemory(reader.Position - size, size);
        }

        static string NameOf(ReadOnlySpan<byte> text)
        {
            for (var i = 0; i < KnownBytes.Length; i++)
            {
                if (text.SequenceEqual(KnownBytes[i]))
                {
                    return KnownNames[i];
                }
            }
            return Encoding.UTF8.GetString(text);
        }
    }
}
