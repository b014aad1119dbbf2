using System;
using System.Collections.Generic;
using System.Threading.Tasks;

namespace WorkManager.Host
{
    /// <summary>An executor's life from READY on: run what comes until drained, BYE.</summary>
    sealed class Executor
    {
        readonly FrameReader _events = new FrameReader(Native.EventsFd);
        readonly Outbox _outbox = new Outbox(Native.EventsFd);
        readonly Environs _environs;
        readonly Handler _handler;
        readonly Runner _runner;

        Executor(Environs environs, Handler handler, Hand hand)
        {
            _environs = environs;
            _handler = handler;
            var width = environs.Job.PerExecutor;
            _runner = width == 1
                ? new InlineRunner(handler, hand, _outbox, environs.Logs)
                : (Runner)new PoolRunner(handler, hand, _outbox, environs.Logs, width);
        }

        /// <summary>Loads the worker and writes the body of READY.</summary>
        internal static Executor Load(Job job, MsgpackWriter answer)
        {
            var control = new FrameWriter(Native.ControlFd);
            var logs = LogSink.Shared = new LogSink(control, job.LogLimitBytes);
            LogStream.Capture(logs);
            TaskScheduler.UnobservedTaskException += (_, news) =>
                logs.Line(null, "ERROR", "a task nobody waited for failed: " + news.Exception);
            var environs = new Environs(job, logs, control);
            var hand = new Hand();
            new ControlLoop(environs, hand).Start(); // before the worker's Start, which may ask for things
            var handler = Handler.Load(environs);
            logs.Close(null);
            WriteReady(answer, handler);
            return new Executor(environs, handler, hand);
        }

        /// <summary>Handles events until drained; returns the exit code.</summary>
        internal int Run()
        {
            while (true)
            {
                _events.Fill();
                _outbox.Begin();
                while (_events.TryTake(out var body))
                {
                    if (!Handle(body))
                    {
                        return End();
                    }
                }
                _runner.AllTaken();
            }
        }

        /// <summary>ready = ["ready", {handler, mode, async, runtime}]</summary>
        static void WriteReady(MsgpackWriter answer, Handler handler)
        {
            answer.Clear();
            answer.WriteArrayHeader(2);
            answer.WriteString("ready");
            answer.WriteMapHeader(4);
            answer.WriteString("handler");
            answer.WriteString(handler.Name);
            answer.WriteString("mode");
            answer.WriteString(handler.IsBatch ? "batch" : "event");
            answer.WriteString("async");
            answer.WriteBool(handler.IsAsync);
            answer.WriteString("runtime");
            answer.WriteString($".NET {Environment.Version}");
        }

        /// <summary>Handles a frame; false for the last one.</summary>
        bool Handle(ReadOnlySpan<byte> body)
        {
            var reader = new MsgpackReader(body);
            var parts = reader.ReadArrayHeader();
            var kind = reader.ReadText();
            if (parts == 1 && kind.SequenceEqual("drain"u8))
            {
                return false;
            }
            if (parts == 2 && _handler.IsBatch && kind.SequenceEqual("batch"u8))
            {
                _runner.TakeBatch(ReadItems(ref reader));
                return true;
            }
            if (parts != 2 || !kind.SequenceEqual("run"u8))
            {
                throw new ProtocolException("frame is not understood here");
            }
            for (var count = reader.ReadArrayHeader(); count > 0; count--)
            {
                Take(ReadItem(ref reader));
            }
            return true;
        }

        void Take(Attempt attempt)
        {
            if (_handler.IsBatch)
            {
                _runner.TakeBatch(new[] { attempt });
            }
            else
            {
                _runner.Take(attempt);
            }
        }

        static Attempt[] ReadItems(ref MsgpackReader reader)
        {
            var items = new List<Attempt>(); // its number is the sender's word: nothing is allocated by it
            for (var count = reader.ReadArrayHeader(); count > 0; count--)
            {
                items.Add(ReadItem(ref reader));
            }
            return items.ToArray();
        }

        /// <summary>item = [no, task number, attempt, wire, fencing token | nil]</summary>
        static Attempt ReadItem(ref MsgpackReader reader)
        {
            if (reader.ReadArrayHeader() != 5)
            {
                throw new ProtocolException("an item has five parts");
            }
            var no = reader.ReadInt();
            var taskNumber = reader.ReadInt();
            var number = (int)reader.ReadInt();
            var wire = reader.ReadBytes().ToArray();
            var fence = reader.TryReadNil() ? (long?)null : reader.ReadInt();
            return new Attempt(no, taskNumber, number, wire, fence);
        }

        int End()
        {
            _runner.WaitUntilIdle();
            _outbox.Flush();
            _handler.Stop();
            _environs.Logs.Close(null);
            new FrameWriter(Native.EventsFd).Send(frame =>
            {
                frame.WriteArrayHeader(1);
                frame.WriteString("bye");
            });
            return Native.ExitDrained;
        }
    }
}
