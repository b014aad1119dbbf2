using System;
using System.Buffers.Binary;
using System.Diagnostics;
using System.Threading;

namespace WorkManager.Host
{
    /// <summary>Outcomes on their way to the supervisor, many in one frame; any thread may add.</summary>
    /// <remarks>
    /// They are flushed when nothing is left in hand, when the oldest is a millisecond old, when 256
    /// wait, or when 256 KiB wait. While a handler runs long a thread of its own flushes; it is woken
    /// (armed) only when an outcome waits and another handler begins, so that a stream of single
    /// events never wakes it.
    /// </remarks>
    sealed class Outbox
    {
        const int MaxWaiting = 256;
        const int MaxWaitingBytes = 256 * 1024;
        const int IdleTicks = 16; // looks that found nothing, then the thread rests until armed again

        // header, then ["done", [...]] up to the 32-bit number of outcomes
        const int Prefix = Frames.HeaderBytes + 7 + 4;

        static readonly long FlushAfter = Stopwatch.Frequency / 1000;

        readonly int _fd;
        readonly MsgpackWriter _waiting = new MsgpackWriter();
        readonly AutoResetEvent _armed = new AutoResetEvent(false);
        int _count;
        long _flushAt;
        bool _isArmed;
        Thread? _flusher;

        internal Outbox(int fd)
        {
            _fd = fd;
            _waiting.Clear(keep: Prefix);
        }

        static ReadOnlySpan<byte> Opening =>
            new byte[] { 0x92, 0xA4, (byte)'d', (byte)'o', (byte)'n', (byte)'e', 0xDD };

        internal bool HasWaiting => Volatile.Read(ref _count) > 0;

        /// <summary>Starts the clock: work has come in after there was none.</summary>
        internal void Begin() => Volatile.Write(ref _flushAt, Stopwatch.GetTimestamp() + FlushAfter);

        /// <summary>Notes that a handler begins: what waits now must not wait for its end.</summary>
        internal void HandlerBegins()
        {
            if (HasWaiting && !Volatile.Read(ref _isArmed))
            {
                Arm();
            }
        }

        /// <summary>Adds an outcome, and sends what waits if it is due.</summary>
        internal void Add(Attempt attempt, in Verdict verdict, long now)
        {
            var microseconds = (now - attempt.Begun) * 1_000_000 / Stopwatch.Frequency;
            lock (_waiting)
            {
                var outputs = verdict.Status == Verdict.Ok ? attempt.Outputs : null;
                if (_waiting.Length + (outputs?.SizeBytes ?? 0) > Frames.MaxBytes / 2)
                {
                    Send();
                }
                verdict.Write(_waiting, attempt.No, microseconds, outputs);
                _count++;
                if (now >= _flushAt || _count >= MaxWaiting || _waiting.Length >= MaxWaitingBytes)
                {
                    Send();
                }
            }
        }

        internal void Flush()
        {
            lock (_waiting)
            {
                Send();
            }
        }

        void Send()
        {
            if (_count == 0)
            {
                return;
            }
            var frame = _waiting.Array.AsSpan();
            BinaryPrimitives.WriteInt32BigEndian(frame, _waiting.Length - Frames.HeaderBytes);
            Opening.CopyTo(frame.Slice(Frames.HeaderBytes));
            BinaryPrimitives.WriteInt32BigEndian(frame.Slice(Prefix - 4), _count);
            Native.Write(_fd, _waiting.Array, 0, _waiting.Length);
            _waiting.Clear(keep: Prefix);
            _count = 0;
            _flushAt = Stopwatch.GetTimestamp() + FlushAfter;
        }

        void Arm()
        {
            Volatile.Write(ref _isArmed, true);
            if (_flusher is null)
            {
                _flusher = new Thread(FlushWhatIsDue, 128 * 1024) { IsBackground = true, Name = "wm-flush" };
                _flusher.Start();
            }
            _armed.Set();
        }

        void FlushWhatIsDue()
        {
            while (true)
            {
                _armed.WaitOne();
                for (var idle = 0; idle <= IdleTicks;)
                {
                    Thread.Sleep(1);
                    idle = FlushIfDue() ? 0 : idle + 1;
                }
                // Taken down before the last look: a runner adds first and looks at the flag then, so
                // one of the two always sees the other.
                Volatile.Write(ref _isArmed, false);
                if (HasWaiting)
                {
                    Arm();
                }
            }
        }

        /// <summary>Sends what is due; tells whether anything waited.</summary>
        bool FlushIfDue()
        {
            if (!HasWaiting)
            {
                return false;
            }
            lock (_waiting)
            {
                if (Stopwatch.GetTimestamp() >= _flushAt)
                {
                    Send();
                }
            }
            return true;
        }
    }
}
