using System;
using System.Threading;

namespace WorkManager.Host
{
    /// <summary>Serves the control channel beside user code: answers pings, takes cancels and answers.</summary>
    sealed class ControlLoop
    {
        const int StackBytes = 256 * 1024;

        readonly FrameReader _reader = new FrameReader(Native.ControlFd);
        readonly FrameWriter _writer;
        readonly Hand _hand;
        readonly Desk _desk;

        internal ControlLoop(Environs environs, Hand hand)
        {
            _writer = environs.Control;
            _desk = environs.Desk;
            _hand = hand;
        }

        internal void Start() =>
            new Thread(Run, StackBytes) { IsBackground = true, Name = "wm-control" }.Start();

        void Run()
        {
            try
            {
                while (true)
                {
                    if (!Native.WaitReadable(Native.ControlFd, Native.EventsFd))
                    {
                        Native.SupervisorGone();
                    }
                    _reader.Fill();
                    while (_reader.TryTake(out var body))
                    {
                        Handle(body);
                    }
                }
            }
            catch (ProtocolException error)
            {
                Native.EndForProtocol(error.Message);
            }
        }

        void Handle(ReadOnlySpan<byte> body)
        {
            var reader = new MsgpackReader(body);
            var parts = reader.ReadArrayHeader();
            var kind = reader.ReadString();
            if (kind == "http" && (parts == 4 || parts == 5))
            {
                _desk.Deliver(ref reader, parts);
                return;
            }
            if (parts != 2 || (kind != "ping" && kind != "cancel"))
            {
                throw new ProtocolException($"control frame '{Verdict.Cut(kind, 50)}' is not understood");
            }
            var number = reader.ReadInt();
            if (kind == "cancel")
            {
                _hand.Cancel(number);
                return;
            }
            _writer.Send(frame =>
            {
                frame.WriteArrayHeader(3);
                frame.WriteString("pong");
                frame.WriteInt(number);
                frame.WriteMapHeader(1);
                frame.WriteString("cpu_us");
                frame.WriteInt(Native.CpuMicroseconds());
            });
        }
    }
}
