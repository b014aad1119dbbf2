// The way in: the executor's Python side calls Boot through clr_loader, gets function pointers back
// and calls those through cffi. No object ever crosses; what crosses is msgpack.
//
//   Load(job)  the body of a LOAD frame in; the frame to answer with (READY or a refusal) out
//   Run()      handles events until drained; returns the exit code of the process
//
// From READY on this side speaks on both channels, on descriptors 3 and 4: the Python side would only
// carry every frame from one hand to the other.

using System;
using System.Runtime.InteropServices;
using System.Threading;

namespace WorkManager.Host
{
    public static unsafe class Bridge
    {
        static readonly LoadFunction LoadPointer = Load;
        static readonly RunFunction RunPointer = Run;

        static readonly MsgpackWriter Answer = new MsgpackWriter();
        static GCHandle _pinnedAnswer;
        static Executor? _executor;

        delegate int LoadFunction(byte* job, int size, byte** answer, int* answerSize);

        delegate int RunFunction();

        /// <summary>Writes the function pointers into a table of int64 at <paramref name="table"/>.</summary>
        public static int Boot(IntPtr table, int sizeBytes)
        {
            var pointers = new[]
            {
                Marshal.GetFunctionPointerForDelegate(LoadPointer).ToInt64(),
                Marshal.GetFunctionPointerForDelegate(RunPointer).ToInt64(),
            };
            if (sizeBytes < pointers.Length * sizeof(long))
            {
                return 1;
            }
            Marshal.Copy(pointers, 0, table, pointers.Length);
            return 0;
        }

        /// <summary>Loads a worker; 0 if it is ready, 1 if it is refused, with the frame's body.</summary>
        static int Load(byte* job, int size, byte** answer, int* answerSize)
        {
            var isReady = false;
            try
            {
                var body = new ReadOnlySpan<byte>(job, size);
                _executor = Executor.Load(Job.Parse(ref body), Answer);
                isReady = true;
            }
            catch (Exception error)
            {
                Answer.Clear();
                Refusal.Of(error).Write(Answer);
            }
            _pinnedAnswer = GCHandle.Alloc(Answer.Array, GCHandleType.Pinned);
            *answer = (byte*)_pinnedAnswer.AddrOfPinnedObject();
            *answerSize = Answer.Length;
            return isReady ? 0 : 1;
        }

        static int Run()
        {
            if (_pinnedAnswer.IsAllocated)
            {
                _pinnedAnswer.Free();
            }
            try
            {
                return _executor!.Run();
            }
            catch (ProtocolException error)
            {
                return Native.EndForProtocol(error.Message);
            }
            catch (Exception error)
            {
                Native.Say("executor failed: " + error);
                return 1;
            }
        }
    }
}
