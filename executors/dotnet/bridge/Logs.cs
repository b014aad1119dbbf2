using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Text;

namespace WorkManager.Host
{
    /// <summary>What one attempt, or the time outside of attempts, has logged so far.</summary>
    sealed class LogBook
    {
        internal readonly Dictionary<string, StringBuilder> Unfinished =
            new Dictionary<string, StringBuilder>(); // level -> text without its newline as yet

        internal readonly long Since = Stopwatch.GetTimestamp();

        internal long UsedBytes { get; set; }

        internal long DroppedLines { get; set; }

        internal long DroppedBytes { get; set; }
    }

    /// <summary>Sends log lines on the control channel, bounded per attempt.</summary>
    sealed class LogSink
    {
        const int MaxLineBytes = 16 * 1024;
        const int OutsideWindowSeconds = 10; // outside of attempts the limit holds per such window

        internal static LogSink Shared = new LogSink(new FrameWriter(Native.ControlFd), 64 * 1024);

        readonly FrameWriter _control;
        readonly int _limitBytes;
        readonly object _gate = new object();
        LogBook _outside = new LogBook();

        internal LogSink(FrameWriter control, int limitBytes)
        {
            _control = control;
            _limitBytes = limitBytes;
        }

        /// <summary>Sends one line of an attempt, or counts it as dropped.</summary>
        internal void Line(Attempt? attempt, string level, string text)
        {
            lock (_gate)
            {
                LineOf(BookOf(attempt), attempt, level, text);
            }
        }

        /// <summary>Takes a piece of text: whole lines go out, the rest waits for its end.</summary>
        internal void Write(string level, ReadOnlySpan<char> text)
        {
            var attempt = Attempt.Current.Value;
            lock (_gate)
            {
                var book = BookOf(attempt);
                if (!book.Unfinished.TryGetValue(level, out var rest))
                {
                    book.Unfinished[level] = rest = new StringBuilder();
                }
                for (var end = text.IndexOf('\n'); end >= 0; end = text.IndexOf('\n'))
                {
                    rest.Append(text.Slice(0, end));
                    LineOf(book, attempt, level, Taken(rest));
                    text = text.Slice(end + 1);
                }
                rest.Append(text);
                if (rest.Length >= MaxLineBytes)
                {
                    LineOf(book, attempt, level, Taken(rest));
                }
            }
        }

        /// <summary>Sends what waits for its newline, and says how much was dropped.</summary>
        internal void Close(Attempt? attempt)
        {
            lock (_gate)
            {
                var book = BookOf(attempt);
                foreach (var (level, rest) in book.Unfinished)
                {
                    if (rest.Length > 0)
                    {
                        LineOf(book, attempt, level, Taken(rest));
                    }
                }
                TellDropped(book, attempt);
            }
        }

        static string Taken(StringBuilder text)
        {
            var line = text.ToString();
            text.Clear();
            return line.EndsWith('\r') ? line.Substring(0, line.Length - 1) : line;
        }

        LogBook BookOf(Attempt? attempt)
        {
            if (attempt is null || attempt.IsDone)
            {
                return OutsideBook();
            }
            return attempt.Log ??= new LogBook();
        }

        LogBook OutsideBook()
        {
            var book = _outside;
            if (Stopwatch.GetTimestamp() - book.Since > OutsideWindowSeconds * Stopwatch.Frequency)
            {
                _outside = new LogBook();
                foreach (var (level, rest) in book.Unfinished)
                {
                    _outside.Unfinished[level] = rest;
                }
                TellDropped(book, null);
            }
            return _outside;
        }

        void LineOf(LogBook book, Attempt? attempt, string level, string text)
        {
            text = Verdict.Cut(text, MaxLineBytes);
            var size = Encoding.UTF8.GetByteCount(text);
            if (book.UsedBytes + size > _limitBytes)
            {
                book.DroppedLines++;
                book.DroppedBytes += size;
                return;
            }
            book.UsedBytes += size;
            Send(attempt, level, text);
        }

        void TellDropped(LogBook book, Attempt? attempt)
        {
            if (book.DroppedLines > 0)
            {
                Send(
                    attempt,
                    "WARNING",
                    $"{book.DroppedLines} more lines of {book.DroppedBytes} bytes were dropped: "
                    + $"{_limitBytes} bytes may be logged");
            }
        }

        void Send(Attempt? attempt, string level, string text) => _control.Send(frame =>
        {
            frame.WriteArrayHeader(4);
            frame.WriteString("log");
            if (attempt is null || attempt.IsDone)
            {
                frame.WriteNil();
            }
            else
            {
                frame.WriteInt(attempt.No);
            }
            frame.WriteString(level);
            frame.WriteString(text);
        });
    }

    /// <summary>Stands in for Console.Out or Console.Error.</summary>
    sealed class LogStream : TextWriter
    {
        readonly LogSink _sink;
        readonly string _level;

        LogStream(LogSink sink, string level)
        {
            _sink = sink;
            _level = level;
            CoreNewLine = new[] { '\n' };
        }

        public override Encoding Encoding => Encoding.UTF8;

        public override void Write(char value) => _sink.Write(_level, stackalloc char[] { value });

        public override void Write(char[] buffer, int index, int count) =>
            _sink.Write(_level, buffer.AsSpan(index, count));

        public override void Write(ReadOnlySpan<char> buffer) => _sink.Write(_level, buffer);

        public override void Write(string? value) => _sink.Write(_level, value);

        public override void WriteLine(string? value) => _sink.Write(_level, value + "\n");

        /// <summary>Sends what is written to the console to the log.</summary>
        internal static void Capture(LogSink sink)
        {
            Console.SetOut(new LogStream(sink, "INFO"));
            Console.SetError(new LogStream(sink, "ERROR"));
        }
    }
}
