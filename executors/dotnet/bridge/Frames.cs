// frame = u32 big-endian length of the body (1 byte .. 16 MiB) + body
// body  = msgpack array, first element the kind (text)

using System;
using System.Buffers.Binary;

namespace WorkManager.Host
{
    static class Frames
    {
        internal const int HeaderBytes = 4;
        internal const int MaxBytes = 16 * 1024 * 1024; // as in frames.py
    }

    /// <summary>Cuts what comes in on a descriptor into frames.</summary>
    sealed class FrameReader
    {
        const int ReadBytes = 64 * 1024;

        readonly int _fd;
        byte[] _buffer = new byte[ReadBytes];
        int _start;
        int _end;

        internal FrameReader(int fd) => _fd = fd;

        /// <summary>Waits for more bytes.</summary>
        internal void Fill()
        {
            MakeRoom();
            _end += Native.Read(_fd, _buffer, _end);
        }

        /// <summary>
        /// Takes the next frame that is complete. Its body is valid until the next call of Fill.
        /// </summary>
        internal bool TryTake(out ReadOnlySpan<byte> body)
        {
            body = default;
            if (_end - _start < Frames.HeaderBytes)
            {
                return false;
            }
            var size = BinaryPrimitives.ReadUInt32BigEndian(_buffer.AsSpan(_start));
            if (size == 0 || size > Frames.MaxBytes)
            {
                throw new ProtocolException($"frame of {size} bytes");
            }
            if (_end - _start - Frames.HeaderBytes < size)
            {
                return false;
            }
            body = _buffer.AsSpan(_start + Frames.HeaderBytes, (int)size);
            _start += Frames.HeaderBytes + (int)size;
            return true;
        }

        void MakeRoom()
        {
            var held = _end - _start;
            var needed = ReadBytes;
            if (held >= Frames.HeaderBytes)
            {
                var size = BinaryPrimitives.ReadUInt32BigEndian(_buffer.AsSpan(_start));
                needed = Math.Max(ReadBytes, Frames.HeaderBytes + (int)Math.Min(size, Frames.MaxBytes));
            }
            var target = (held == 0 && _buffer.Length > ReadBytes) || _buffer.Length < needed
                ? new byte[needed]
                : _buffer;
            Buffer.BlockCopy(_buffer, _start, target, 0, held);
            _buffer = target;
            _start = 0;
            _end = held;
        }
    }

    /// <summary>Sends frames on a descriptor, from any thread.</summary>
    sealed class FrameWriter
    {
        readonly int _fd;
        readonly MsgpackWriter _frame = new MsgpackWriter();

        internal FrameWriter(int fd) => _fd = fd;

        internal delegate void Build(MsgpackWriter body);

        internal void Send(Build build)
        {
            lock (_frame)
            {
                _frame.Clear(keep: Frames.HeaderBytes);
                build(_frame);
                Seal(_frame.Array, _frame.Length);
                Native.Write(_fd, _frame.Array, 0, _frame.Length);
            }
        }

        static void Seal(byte[] frame, int length) =>
            BinaryPrimitives.WriteInt32BigEndian(frame, length - Frames.HeaderBytes);
    }
}
