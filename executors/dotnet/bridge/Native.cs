using System;
using System.Runtime.InteropServices;
using System.Text;

namespace WorkManager.Host
{
    /// <summary>The few system calls the class library does not offer on plain descriptors.</summary>
    static unsafe class Native
    {
        internal const int EventsFd = 3;
        internal const int ControlFd = 4;
        internal const int ExitDrained = 0;
        internal const int ExitProtocol = 72; // as in exits.py

        internal const short PollIn = 0x001;
        internal const short PollGone = 0x008 | 0x010 | 0x020; // ERR, HUP, NVAL

        const int StandardError = 2;
        const int Eintr = 4;
        const int ProcessCpuTime = 2; // CLOCK_PROCESS_CPUTIME_ID

        /// <summary>Reads what there is, waiting for it; ends the process at the end of the stream.</summary>
        internal static int Read(int fd, byte[] buffer, int offset)
        {
            fixed (byte* start = buffer)
            {
                while (true)
                {
                    var got = (int)read(fd, start + offset, (IntPtr)(buffer.Length - offset));
                    if (got > 0)
                    {
                        return got;
                    }
                    if (got == 0 || Marshal.GetLastWin32Error() != Eintr)
                    {
                        SupervisorGone();
                    }
                }
            }
        }

        /// <summary>Writes all of the bytes; ends the process if nobody is there to read them.</summary>
        internal static void Write(int fd, byte[] buffer, int offset, int count)
        {
            fixed (byte* start = buffer)
            {
                while (count > 0)
                {
                    var sent = (int)write(fd, start + offset, (IntPtr)count);
                    if (sent < 0 && Marshal.GetLastWin32Error() != Eintr)
                    {
                        SupervisorGone();
                    }
                    offset += Math.Max(sent, 0);
                    count -= Math.Max(sent, 0);
                }
            }
        }

        /// <summary>Waits until the first descriptor is readable; tells whether a second one is gone.</summary>
        internal static bool WaitReadable(int fd, int watchedFd)
        {
            var polled = stackalloc PollEntry[2];
            while (true)
            {
                polled[0] = new PollEntry(fd, PollIn);
                polled[1] = new PollEntry(watchedFd, 0);
                if (poll(polled, (UIntPtr)2, -1) >= 0 || Marshal.GetLastWin32Error() != Eintr)
                {
                    return (polled[1].Revents & PollGone) == 0;
                }
            }
        }

        /// <summary>Processor time this process has used.</summary>
        internal static long CpuMicroseconds()
        {
            var time = default(Timespec);
            _ = clock_gettime(ProcessCpuTime, &time);
            return (time.Seconds * 1_000_000) + (time.Nanoseconds / 1000);
        }

        /// <summary>Ends at once: nobody is left to take an outcome.</summary>
        internal static void SupervisorGone() => _exit(ExitProtocol);

        /// <summary>Says on stderr what was wrong with a frame, and ends.</summary>
        internal static int EndForProtocol(string why)
        {
            Say("protocol error: " + why);
            _exit(ExitProtocol);
            return ExitProtocol;
        }

        /// <summary>Writes a line to the real stderr.</summary>
        internal static void Say(string line)
        {
            var bytes = Encoding.UTF8.GetBytes(line + "\n");
            Write(StandardError, bytes, 0, bytes.Length);
        }

        [DllImport("libc", SetLastError = true)]
        static extern IntPtr read(int fd, byte* buffer, IntPtr count);

        [DllImport("libc", SetLastError = true)]
        static extern IntPtr write(int fd, byte* buffer, IntPtr count);

        [DllImport("libc", SetLastError = true)]
        static extern int poll(PollEntry* entries, UIntPtr count, int timeout);

        [DllImport("libc")]
        static extern int clock_gettime(int clock, Timespec* time);

        [DllImport("libc")]
        static extern void _exit(int code);

        struct PollEntry
        {
            public int Fd;
            public short Events;
            public readonly short Revents; // written by the kernel

            internal PollEntry(int fd, short events)
            {
                Fd = fd;
                Events = events;
                Revents = 0;
            }
        }

        struct Timespec
        {
            public long Seconds;
            public long Nanoseconds;
        }
    }
}
