using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Threading;

namespace WorkManager.Host
{
    /// <summary>One run of a task, from the frame that brings it to its outcome.</summary>
    /// <remarks>
    /// Of the attempts that one call of a batch handler takes, the first leads: it runs, and has the
    /// cancellation, the outputs and the log of all.
    /// </remarks>
    sealed class Attempt
    {
        /// <summary>The attempt that the present flow of control belongs to.</summary>
        internal static readonly AsyncLocal<Attempt?> Current = new AsyncLocal<Attempt?>();

        readonly object _gate = new object();
        readonly byte[] _wire;
        CancellationTokenSource? _cancellation;
        CloudEvent? _event;
        Attempt? _leader;

        internal Attempt(long no, long taskNumber, int number, byte[] wire, long? fence)
        {
            No = no;
            TaskNumber = taskNumber;
            Number = number;
            _wire = wire;
            Fence = fence;
            Begun = Stopwatch.GetTimestamp();
        }

        internal long No { get; }

        internal long TaskNumber { get; }

        internal int Number { get; }

        /// <summary>Its event, decoded where it is looked at.</summary>
        internal CloudEvent Event => _event ??= new CloudEvent(_wire, Wire.Open);

        internal long? Fence { get; }

        internal long Begun { get; set; }

        internal bool IsCancelled { get; private set; }

        internal bool IsDone { get; set; }

        /// <summary>What the call takes, this one first; null unless this one leads a batch.</summary>
        internal Attempt[]? Batch { get; private set; }

        /// <summary>Events of the batch that failed by themselves, by their place in it.</summary>
        internal Dictionary<int, Verdict>? Failures { get; set; }

        internal Outputs? Outputs { get; set; }

        internal LogBook? Log { get; set; }

        internal TimeSpan Elapsed => TimeSpan.FromSeconds(
            (Stopwatch.GetTimestamp() - Begun) / (double)Stopwatch.Frequency);

        /// <summary>A token that is cancelled with this attempt; made when it is first asked for.</summary>
        internal CancellationToken Token
        {
            get
            {
                lock (_gate)
                {
                    _cancellation ??= new CancellationTokenSource();
                    if (IsCancelled)
                    {
                        _cancellation.Cancel();
                    }
                    return _cancellation.Token;
                }
            }
        }

        /// <summary>Makes this one lead the others; a cancel of any is one of all.</summary>
        internal void Lead(Attempt[] batch)
        {
            Batch = batch;
            foreach (var one in batch)
            {
                if (one != this && one.Follow(this))
                {
                    Cancel();
                }
            }
        }

        internal void Cancel()
        {
            CancellationTokenSource? cancellation;
            Attempt? leader;
            lock (_gate)
            {
                IsCancelled = true;
                cancellation = _cancellation;
                leader = _leader;
            }
            leader?.Cancel();
            // On a thread of the pool: callbacks are user code, and must not hold up the control
            // channel. What they throw has nowhere to go.
            if (cancellation != null)
            {
                ThreadPool.UnsafeQueueUserWorkItem(_ => CancelQuietly(cancellation), null);
            }
        }

        /// <summary>Tells whether it was cancelled already.</summary>
        bool Follow(Attempt leader)
        {
            lock (_gate)
            {
                _leader = leader;
                return IsCancelled;
            }
        }

        static void CancelQuietly(CancellationTokenSource cancellation)
        {
            try
            {
                cancellation.Cancel();
            }
            catch (Exception error)
            {
                LogSink.Shared.Line(null, "ERROR", "a cancellation callback failed: " + error);
            }
        }
    }

    /// <summary>The attempts that run, and the cancels of those that have not begun yet.</summary>
    /// <remarks>
    /// A cancel travels on its own channel and may overtake its event; numbers are never used twice,
    /// so one that comes too late does no harm.
    /// </remarks>
    sealed class Hand
    {
        const int MaxRemembered = 1024; // far more than can be in hand

        readonly Dictionary<long, Attempt> _running = new Dictionary<long, Attempt>();
        readonly HashSet<long> _cancelled = new HashSet<long>();

        internal void Enter(Attempt attempt)
        {
            lock (_running)
            {
                _running[attempt.No] = attempt;
                if (_cancelled.Count > 0 && _cancelled.Remove(attempt.No))
                {
                    attempt.Cancel();
                }
            }
        }

        internal void Leave(Attempt attempt)
        {
            lock (_running)
            {
                _running.Remove(attempt.No);
            }
        }

        internal void Cancel(long no)
        {
            Attempt? attempt;
            lock (_running)
            {
                if (!_running.TryGetValue(no, out attempt) && _cancelled.Count < MaxRemembered)
                {
                    _cancelled.Add(no);
                }
            }
            attempt?.Cancel();
        }
    }
}
