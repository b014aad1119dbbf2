using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Text;

namespace WorkManager.Host
{
    /// <summary>The supervisor sent what the protocol does not allow; the executor ends.</summary>
    sealed class ProtocolException : Exception
    {
        internal ProtocolException(string message)
            : base(message)
        {
        }
    }

    /// <summary>Reads msgpack from a span; of the formats, those that the protocol uses.</summary>
    ref struct MsgpackReader
    {
        const int MaxDepth = 64;

        readonly ReadOnlySpan<byte> _body;
        int _position;

        internal MsgpackReader(ReadOnlySpan<byte> body)
        {
            _body = body;
            _position = 0;
        }

        internal int Position => _position;

        internal bool IsAtEnd => _position >= _body.Length;

        internal int ReadArrayHeader()
        {
            var first = Next();
            if ((first & 0xF0) == 0x90)
            {
                return first & 0x0F;
            }
            return first switch { 0xDC => U16(), 0xDD => Length32(), _ => throw Unexpected(first, "array") };
        }

        internal int ReadMapHeader()
        {
            var first = Next();
            if ((first & 0xF0) == 0x80)
            {
                return first & 0x0F;
            }
            return first switch { 0xDE => U16(), 0xDF => Length32(), _ => throw Unexpected(first, "map") };
        }

        internal long ReadInt()
        {
            var first = Next();
            if (first < 0x80 || first >= 0xE0)
            {
                return (sbyte)first;
            }
            switch (first)
            {
                case 0xCC: return Next();
                case 0xCD: return U16();
                case 0xCE: return BinaryPrimitives.ReadUInt32BigEndian(Take(4));
                case 0xCF: return checked((long)BinaryPrimitives.ReadUInt64BigEndian(Take(8)));
                case 0xD0: return (sbyte)Next();
                case 0xD1: return BinaryPrimitives.ReadInt16BigEndian(Take(2));
                case 0xD2: return BinaryPrimitives.ReadInt32BigEndian(Take(4));
                case 0xD3: return BinaryPrimitives.ReadInt64BigEndian(Take(8));
                default: throw Unexpected(first, "integer");
            }
        }

        internal double ReadNumber()
        {
            switch (_body[_position])
            {
                case 0xCA:
                    _position++;
                    return BitConverter.Int32BitsToSingle(BinaryPrimitives.ReadInt32BigEndian(Take(4)));
                case 0xCB:
                    _position++;
                    return BitConverter.Int64BitsToDouble(BinaryPrimitives.ReadInt64BigEndian(Take(8)));
                default:
                    return ReadInt();
            }
        }

        internal ReadOnlySpan<byte> ReadText()
        {
            var first = Next();
            if ((first & 0xE0) == 0xA0)
            {
                return Take(first & 0x1F);
            }
            return first switch
            {
                0xD9 => Take(Next()),
                0xDA => Take(U16()),
                0xDB => Take(Length32()),
                _ => throw Unexpected(first, "text"),
            };
        }

        internal string ReadString() => Encoding.UTF8.GetString(ReadText());

        internal ReadOnlySpan<byte> ReadBytes()
        {
            var first = Next();
            return first switch
            {
                0xC4 => Take(Next()),
                0xC5 => Take(U16()),
                0xC6 => Take(Length32()),
                _ => throw Unexpected(first, "bytes"),
            };
        }

        internal bool TryReadNil()
        {
            if (_position < _body.Length && _body[_position] == 0xC0)
            {
                _position++;
                return true;
            }
            return false;
        }

        /// <summary>Reads any value: null, bool, long, double, string, byte[], List, Dictionary.</summary>
        internal object? ReadObject(int depth = 0)
        {
            if (depth > MaxDepth || IsAtEnd)
            {
                throw new ProtocolException("msgpack value is nested too deeply or cut off");
            }
            var first = _body[_position];
            if (first < 0x80 || first >= 0xE0 || (first >= 0xCC && first <= 0xD3))
            {
                return ReadInt();
            }
            if ((first & 0xF0) == 0x90 || first == 0xDC || first == 0xDD)
            {
                return ReadList(depth);
            }
            if ((first & 0xF0) == 0x80 || first == 0xDE || first == 0xDF)
            {
                return ReadMap(depth);
            }
            if ((first & 0xE0) == 0xA0 || (first >= 0xD9 && first <= 0xDB))
            {
                return ReadString();
            }
            switch (first)
            {
                case 0xC0: _position++; return null;
                case 0xC2: _position++; return false;
                case 0xC3: _position++; return true;
                case 0xCA: case 0xCB: return ReadNumber();
                default: return ReadBytes().ToArray();
            }
        }

        List<object?> ReadList(int depth)
        {
            var count = ReadArrayHeader();
            var list = new List<object?>(Math.Min(count, 256));
            for (var i = 0; i < count; i++)
            {
                list.Add(ReadObject(depth + 1));
            }
            return list;
        }

        Dictionary<string, object?> ReadMap(int depth)
        {
            var count = ReadMapHeader();
            var map = new Dictionary<string, object?>();
            for (var i = 0; i < count; i++)
            {
                map[ReadString()] = ReadObject(depth + 1);
            }
            return map;
        }

        byte Next()
        {
            if (_position >= _body.Length)
            {
                throw new ProtocolException("frame is cut off");
            }
            return _body[_position++];
        }

        ReadOnlySpan<byte> Take(int count)
        {
            if (count > _body.Length - _position)
            {
                throw new ProtocolException("frame is cut off");
            }
            var taken = _body.Slice(_position, count);
            _position += count;
            return taken;
        }

        int U16() => BinaryPrimitives.ReadUInt16BigEndian(Take(2));

        int Length32()
        {
            var length = BinaryPrimitives.ReadUInt32BigEndian(Take(4));
            return length <= int.MaxValue ? (int)length : throw new ProtocolException("value is too long");
        }

        static ProtocolException Unexpected(byte first, string wanted) =>
            new ProtocolException($"msgpack byte 0x{first:x2} where a {wanted} is needed");
    }
}
