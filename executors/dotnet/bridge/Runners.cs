using System.Collections.Generic;
using System.Diagnostics;
using System.Threading;
using System.Threading.Tasks;

namespace WorkManager.Host
{
    /// <summary>Takes attempts from the events channel and brings their outcomes to the outbox.</summary>
    abstract class Runner
    {
        readonly Hand _hand;
        readonly LogSink _logs;

        protected Runner(Handler handler, Hand hand, Outbox outbox, LogSink logs)
        {
            Handler = handler;
            _hand = hand;
            Outbox = outbox;
            _logs = logs;
        }

        protected Handler Handler { get; }

        protected Outbox Outbox { get; }

        /// <summary>Runs the attempt, or sees to it that it is run.</summary>
        internal abstract void Take(Attempt attempt);

        /// <summary>Called when all that has come in one read was taken.</summary>
        internal abstract void AllTaken();

        /// <summary>Waits until nothing is in hand.</summary>
        internal abstract void WaitUntilIdle();

        protected void Enter(Attempt attempt) => _hand.Enter(attempt);

        protected void Settle(Attempt attempt, in Verdict verdict)
        {
            if (attempt.Log != null)
            {
                _logs.Close(attempt);
            }
            attempt.IsDone = true;
            _hand.Leave(attempt);
            Outbox.Add(attempt, verdict, Stopwatch.GetTimestamp());
        }
    }

    /// <summary>One attempt at a time, on the thread that reads: no hand-over between threads.</summary>
    sealed class InlineRunner : Runner
    {
        static readonly ContextCallback RunInContext = state => ((InlineRunner)state!).RunPresent();

        readonly ExecutionContext _clean = ExecutionContext.Capture()!;
        Attempt? _present;

        internal InlineRunner(Handler handler, Hand hand, Outbox outbox, LogSink logs)
            : base(handler, hand, outbox, logs)
        {
        }

        internal override void Take(Attempt attempt)
        {
            Outbox.HandlerBegins();
            Enter(attempt);
            if (attempt.IsCancelled)
            {
                Settle(attempt, Verdict.CancelledBefore);
                return;
            }
            _present = attempt;
            ExecutionContext.Run(_clean, RunInContext, this); // what it sets in its context ends with it
        }

        internal override void AllTaken() => Outbox.Flush();

        internal override void WaitUntilIdle()
        {
        }

        void RunPresent()
        {
            var attempt = _present!;
            Attempt.Current.Value = attempt;
            var pending = Handler.Run(attempt);
            var verdict = pending.IsCompletedSuccessfully
                ? pending.Result
                : pending.AsTask().GetAwaiter().GetResult();
            Settle(attempt, verdict);
        }
    }

    /// <summary>Several attempts at a time, begun on threads of the pool.</summary>
    sealed class PoolRunner : Runner
    {
        readonly object _gate = new object();
        readonly Queue<Attempt> _waiting = new Queue<Attempt>();
        readonly int _width;
        int _running;

        internal PoolRunner(Handler handler, Hand hand, Outbox outbox, LogSink logs, int width)
            : base(handler, hand, outbox, logs)
        {
            _width = width;
            ThreadPool.GetMinThreads(out var workers, out var ports);
            ThreadPool.SetMinThreads(System.Math.Max(workers, width), ports); // handlers may block
        }

        internal override void Take(Attempt attempt)
        {
            Enter(attempt);
            lock (_gate)
            {
                if (_running == _width)
                {
                    _waiting.Enqueue(attempt);
                    return;
                }
                _running++;
            }
            Begin(attempt);
        }

        internal override void AllTaken()
        {
        }

        internal override void WaitUntilIdle()
        {
            lock (_gate)
            {
                while (_running > 0)
                {
                    Monitor.Wait(_gate);
                }
            }
        }

        void Begin(Attempt attempt) =>
            ThreadPool.UnsafeQueueUserWorkItem(one => _ = RunOne(one), attempt, preferLocal: false);

        async Task RunOne(Attempt attempt)
        {
            attempt.Begun = Stopwatch.GetTimestamp();
            Attempt.Current.Value = attempt;
            Outbox.HandlerBegins();
            var verdict = attempt.IsCancelled
                ? Verdict.CancelledBefore
                : await Handler.Run(attempt).ConfigureAwait(false);
            Settle(attempt, verdict);
            AfterOne();
        }

        void AfterOne()
        {
            Attempt? next = null;
            var isLast = false;
            lock (_gate)
            {
                if (_waiting.Count > 0)
                {
                    next = _waiting.Dequeue();
                }
                else
                {
                    _running--;
                    isLast = _running == 0;
                }
            }
            if (next != null)
            {
                Begin(next);
                return;
            }
            if (isLast)
            {
                Outbox.Flush();
            }
            else
            {
                Outbox.HandlerBegins(); // the others may run long
            }
            lock (_gate)
            {
                Monitor.PulseAll(_gate);
            }
        }
    }
}
