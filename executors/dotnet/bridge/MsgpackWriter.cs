using System;
using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace WorkManager.Host
{
    /// <summary>Writes msgpack into a buffer that grows; not safe for several threads.</summary>
    sealed class MsgpackWriter : IBufferWriter<byte>
    {
        const int KeptBytes = 1024 * 1024; // a larger buffer is given up when it is cleared

        byte[] _buffer = new byte[1024];

        internal int Length { get; private set; }

        internal byte[] Array => _buffer;

        internal ReadOnlySpan<byte> Written => _buffer.AsSpan(0, Length);

        internal void Clear(int keep = 0)
        {
            if (_buffer.Length > KeptBytes)
            {
                _buffer = new byte[1024];
            }
            Length = keep;
        }

        internal void WriteNil() => Put(0xC0);

        internal void WriteBool(bool value) => Put(value ? (byte)0xC3 : (byte)0xC2);

        internal void WriteInt(long value)
        {
            if (value >= -32 && value < 128)
            {
                Put((byte)value);
            }
            else if (value >= 0 && value <= ushort.MaxValue)
            {
                var to = Room(3);
                to[0] = 0xCD;
                BinaryPrimitives.WriteUInt16BigEndian(to.Slice(1), (ushort)value);
            }
            else if (value >= 0 && value <= uint.MaxValue)
            {
                var to = Room(5);
                to[0] = 0xCE;
                BinaryPrimitives.WriteUInt32BigEndian(to.Slice(1), (uint)value);
            }
            else
            {
                var to = Room(9);
                to[0] = 0xD3;
                BinaryPrimitives.WriteInt64BigEndian(to.Slice(1), value);
            }
        }

        internal void WriteDouble(double value)
        {
            var to = Room(9);
            to[0] = 0xCB;
            BinaryPrimitives.WriteInt64BigEndian(to.Slice(1), BitConverter.DoubleToInt64Bits(value));
        }

        internal void WriteArrayHeader(int count)
        {
            if (count < 16)
            {
                Put((byte)(0x90 | count));
            }
            else
            {
                WriteLong(0xDD, count);
            }
        }

        internal void WriteMapHeader(int count)
        {
            if (count < 16)
            {
                Put((byte)(0x80 | count));
            }
            else
            {
                WriteLong(0xDF, count);
            }
        }

        internal void WriteString(string? value)
        {
            if (value is null)
            {
                WriteNil();
                return;
            }
            var size = Encoding.UTF8.GetByteCount(value);
            if (size < 32)
            {
                Put((byte)(0xA0 | size));
            }
            else if (size <= byte.MaxValue)
            {
                Put(0xD9);
                Put((byte)size);
            }
            else
            {
                WriteLong(0xDB, size);
            }
            Encoding.UTF8.GetBytes(value, Room(size));
        }

        internal void WriteBytes(ReadOnlySpan<byte> value)
        {
            if (value.Length <= byte.MaxValue)
            {
                Put(0xC4);
                Put((byte)value.Length);
            }
            else
            {
                WriteLong(0xC6, value.Length);
            }
            WriteRaw(value);
        }

        /// <summary>Appends what is msgpack already.</summary>
        internal void WriteRaw(ReadOnlySpan<byte> value) => value.CopyTo(Room(value.Length));

        /// <summary>Leaves room for bytes whose length is not known yet; to be ended with its result.</summary>
        internal int BeginBytes()
        {
            WriteLong(0xC6, 0);
            return Length;
        }

        internal void EndBytes(int begun) =>
            BinaryPrimitives.WriteInt32BigEndian(_buffer.AsSpan(begun - 4), Length - begun);

        /// <summary>Forgets what was written after a place.</summary>
        internal void CutTo(int length) => Length = length;

        void IBufferWriter<byte>.Advance(int count) => Length += count;

        Memory<byte> IBufferWriter<byte>.GetMemory(int sizeHint)
        {
            Reserve(Math.Max(sizeHint, 256));
            return _buffer.AsMemory(Length);
        }

        Span<byte> IBufferWriter<byte>.GetSpan(int sizeHint)
        {
            Reserve(Math.Max(sizeHint, 256));
            return _buffer.AsSpan(Length);
        }

        void WriteLong(byte kind, int count)
        {
            var to = Room(5);
            to[0] = kind;
            BinaryPrimitives.WriteInt32BigEndian(to.Slice(1), count);
        }

        void Put(byte value)
        {
            Reserve(1);
            _buffer[Length++] = value;
        }

        Span<byte> Room(int count)
        {
            Reserve(count);
            var room = _buffer.AsSpan(Length, count);
            Length += count;
            return room;
        }

        void Reserve(int count)
        {
            if (count > _buffer.Length - Length)
            {
                System.Array.Resize(ref _buffer, Math.Max(_buffer.Length * 2, Length + count));
            }
        }
    }
}
