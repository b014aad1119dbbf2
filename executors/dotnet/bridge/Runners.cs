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
        internal void Take(Attempt attempt)
        {
            Outbox.HandlerBegins();
            if (Enter(attempt))
            {
                Run(attempt);
            }
        }

        /// <summary>The same for what one call of a batch handler takes.</summary>
        internal void TakeBatch(Attempt[] attempts)
        {
            Outbox.HandlerBegins();
            var left = System.Array.FindAll(attempts, Enter);
            if (left.Length > 0)
            {
                left[0].Lead(left);
                Run(left[0]);
            }
        }

        /// <summary>Called when all that has come in one read was taken.</summary>
        internal abstract void AllTaken();

        /// <summary>Waits until nothing is in hand.</summary>
        internal abstract void WaitUntilIdle();

        /// <summary>Runs an attempt that has been entered, or sees to it that it is run.</summary>
        protected abstract void Run(Attempt attempt);

        protected void Settle(Attempt attempt, in Verdict verdict)
        {
            if (attempt.Log != null)
            {
                _logs.Close(attempt);
            }
            attempt.IsDone = true;
            if (attempt.Batch is Attempt[] batch)
            {
                SettleBatch(attempt, batch, verdict);
                return;
            }
            _hand.Leave(attempt);
            Outbox.Add(attempt, verdict, Stopwatch.GetTimestamp());
        }

        /// <summary>Enters an attempt; settles one that was cancelled before it began.</summary>
        bool Enter(Attempt attempt)
        {
            _hand.Enter(attempt);
            if (attempt.IsCancelled)
            {
                Settle(attempt, Verdict.CancelledBefore);
            }
            return !attempt.IsCancelled;
        }

        /// <summary>The outputs of a batch leave with its first event that is well.</summary>
        void SettleBatch(Attempt leader, Attempt[] batch, in Verdict verdict)
        {
            var outputs = leader.Outputs;
            leader.Outputs = null;
            for (var i = 0; i < batch.Length; i++)
            {
                var own = default(Verdict);
                var hasFailed = verdict.Status == Verdict.Ok
                    && leader.Failures != null && leader.Failures.TryGetValue(i, out own);
                var final = hasFailed ? own : verdict;
                batch[i].Begun = leader.Begun;
                if (final.Status == Verdict.Ok)
                {
                    batch[i].Outputs = outputs;
                    outputs = null;
                }
                _hand.Leave(batch[i]);
                Outbox.Add(batch[i], final, Stopwatch.GetTimestamp());
            }
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

        protected override void Run(Attempt attempt)
        {
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

        protected override void Run(Attempt attempt)
        {
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
            var isIdle = false;
            lock (_gate)
            {
                isIdle = _running == 0;
            }
            if (isIdle)
            {
                Outbox.Flush(); // what was cancelled before it began
            }
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
