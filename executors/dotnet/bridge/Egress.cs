// request = ["http", id, method, url, [[name, value], ...], body | nil, timeout in seconds]
// answer  = ["http", id, status, [[name, value], ...], body]
// refusal = ["http", id, "refused" | "failed", message]

using System;
using System.Collections.Generic;
using System.Net;
using System.Net.Http;
using System.Threading;
using System.Threading.Tasks;

namespace WorkManager.Host
{
    /// <summary>What a request asks for, as it goes to the supervisor.</summary>
    sealed class Asked
    {
        internal Asked(HttpRequestMessage request, byte[]? body)
        {
            Request = request;
            Method = request.Method.Method;
            Url = request.RequestUri!.AbsoluteUri;
            Body = body;
            AddAll(request.Headers);
            if (request.Content != null)
            {
                AddAll(request.Content.Headers);
            }
        }

        internal HttpRequestMessage Request { get; }

        internal string Method { get; }

        internal string Url { get; }

        internal byte[]? Body { get; }

        internal List<(string Name, string Value)> Headers { get; } = new List<(string, string)>();

        internal TaskCompletionSource<HttpResponseMessage> Answer { get; } =
            new TaskCompletionSource<HttpResponseMessage>(
                TaskCreationOptions.RunContinuationsAsynchronously); // not on the control thread

        void AddAll(IEnumerable<KeyValuePair<string, IEnumerable<string>>> headers)
        {
            foreach (var (name, values) in headers)
            {
                if (name != "Content-Length") // .NET adds it by itself; it follows from the body
                {
                    Headers.Add((name, string.Join(name == "User-Agent" ? " " : ", ", values)));
                }
            }
        }
    }

    /// <summary>Requests on their way to the supervisor, which makes them; and who waits for them.</summary>
    sealed class Desk
    {
        const double LimitSeconds = 600; // `egress.timeout` bounds it, and is the supervisor's to keep

        readonly Dictionary<long, Asked> _waiting = new Dictionary<long, Asked>();
        readonly FrameWriter _control;
        long _last;

        internal Desk(FrameWriter control) => _control = control;

        internal long Send(Asked asked)
        {
            var number = Interlocked.Increment(ref _last);
            lock (_waiting)
            {
                _waiting[number] = asked;
            }
            _control.Send(frame => Write(frame, number, asked));
            return number;
        }

        /// <summary>Drops an answer that nobody waits for any more.</summary>
        internal Asked? Take(long number)
        {
            lock (_waiting)
            {
                return _waiting.Remove(number, out var asked) ? asked : null;
            }
        }

        /// <summary>Reads an answer from behind its kind, and hands it to who waits for it.</summary>
        internal void Deliver(ref MsgpackReader reader, int parts)
        {
            var asked = Take(reader.ReadInt());
            if (parts == 5)
            {
                var response = Read(ref reader);
                response.RequestMessage = asked?.Request;
                asked?.Answer.TrySetResult(response);
                return;
            }
            var isRefused = reader.ReadString() == "refused";
            var message = reader.ReadString();
            asked?.Answer.TrySetException(
                isRefused ? new HttpRefusedException(message) : (Exception)new HttpRequestException(message));
        }

        static void Write(MsgpackWriter frame, long number, Asked asked)
        {
            frame.WriteArrayHeader(7);
            frame.WriteString("http");
            frame.WriteInt(number);
            frame.WriteString(asked.Method);
            frame.WriteString(asked.Url);
            frame.WriteArrayHeader(asked.Headers.Count);
            foreach (var (name, value) in asked.Headers)
            {
                frame.WriteArrayHeader(2);
                frame.WriteString(name);
                frame.WriteString(value);
            }
            if (asked.Body is null)
            {
                frame.WriteNil();
            }
            else
            {
                frame.WriteBytes(asked.Body);
            }
            frame.WriteDouble(LimitSeconds);
        }

        static HttpResponseMessage Read(ref MsgpackReader reader)
        {
            var response = new HttpResponseMessage((HttpStatusCode)reader.ReadInt());
            var headers = new List<(string Name, string Value)>();
            for (var count = reader.ReadArrayHeader(); count > 0; count--)
            {
                _ = reader.ReadArrayHeader();
                headers.Add((reader.ReadString(), reader.ReadString()));
            }
            response.Content = new ByteArrayContent(reader.ReadBytes().ToArray());
            foreach (var (name, value) in headers)
            {
                if (!response.Headers.TryAddWithoutValidation(name, value)
                    && !name.Equals("Content-Length", StringComparison.OrdinalIgnoreCase))
                {
                    response.Content.Headers.TryAddWithoutValidation(name, value);
                }
            }
            return response;
        }
    }

    /// <summary>What an HttpClient sends goes to the desk; the executor itself has no network.</summary>
    sealed class DeskHandler : HttpMessageHandler
    {
        const int MaxBodyBytes = 8 * 1024 * 1024; // more than any rule allows

        readonly Desk _desk;

        internal DeskHandler(Desk desk) => _desk = desk;

        /// <summary>Makes a client whose time is bounded by `egress.timeout`, not by its own.</summary>
        internal static HttpClient Client(Desk desk) =>
            new HttpClient(new DeskHandler(desk)) { Timeout = Timeout.InfiniteTimeSpan };

        protected override async Task<HttpResponseMessage> SendAsync(
            HttpRequestMessage request, CancellationToken cancellation)
        {
            var body = request.Content is null
                ? null
                : await request.Content.ReadAsByteArrayAsync().ConfigureAwait(false);
            if (body?.Length > MaxBodyBytes)
            {
                throw new HttpRefusedException($"a body of {body.Length} bytes is more than any rule allows");
            }
            var asked = new Asked(request, body);
            var attempt = Attempt.Current.Value;
            using var both = CancellationTokenSource.CreateLinkedTokenSource(
                cancellation, attempt?.Token ?? CancellationToken.None);
            var number = _desk.Send(asked);
            using (both.Token.Register(() => _desk.Take(number)?.Answer.TrySetCanceled(both.Token)))
            {
                return await asked.Answer.Task.ConfigureAwait(false);
            }
        }
    }
}
