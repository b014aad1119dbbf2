using System;
using System.Reflection;
using System.Threading.Tasks;

namespace WorkManager.Host
{
    /// <summary>The method that handles events, with all that is needed to call it.</summary>
    sealed class Handler
    {
        readonly Environs _environs;
        readonly MethodInfo _method;
        readonly object? _instance;
        readonly Parameters.Binding[] _parameters;
        readonly Awaiting _awaiting;
        readonly Hook _stop;

        Handler(Environs environs, MethodInfo method)
        {
            _environs = environs;
            _method = method;
            Name = HandlerSearch.NameOf(method);
            if (method.ContainsGenericParameters)
            {
                throw Refusal.Handler($"{Name} is generic; the handler has to be an ordinary method");
            }
            IsBatch = HandlerSearch.IsBatch(method);
            _parameters = Parameters.Bind(method, environs, IsBatch);
            _awaiting = Awaiting.Of(method);
            var type = method.ReflectedType!;
            var start = Hook.Find(type, "Start", environs);
            _stop = Hook.Find(type, "Stop", environs);
            _instance = method.IsStatic ? null : Activation.Make(type, environs);
            start.CallOrRefuse(_instance);
        }

        internal string Name { get; }

        /// <summary>Whether a call takes a list of events.</summary>
        internal bool IsBatch { get; }

        internal bool IsAsync => _awaiting.IsAsync;

        /// <summary>Loads the worker's assembly, finds the handler, makes its object, calls Start.</summary>
        internal static Handler Load(Environs environs)
        {
            var wanted = new HandlerName(environs.Job.Handler);
            var name = wanted.Assembly.Length > 0 ? wanted.Assembly : environs.Job.Assembly;
            var assembly = WorkerAssembly.Load(environs.Job, name);
            return new Handler(environs, HandlerSearch.Find(assembly, wanted));
        }

        /// <summary>Runs the handler for one attempt to its end; never throws.</summary>
        internal ValueTask<Verdict> Run(Attempt attempt)
        {
            try
            {
                var rest = _awaiting.Collect(() => OutputsOf(attempt), Invoke(attempt));
                return rest is null ? default : new ValueTask<Verdict>(RunRest(attempt, rest));
            }
            catch (Exception error)
            {
                return new ValueTask<Verdict>(Verdict.Of(error, attempt));
            }
        }

        /// <summary>Calls Stop and disposes of the object; what they throw is logged.</summary>
        internal void Stop()
        {
            try
            {
                _stop.Call(_instance);
                if (_instance is IAsyncDisposable disposable)
                {
                    disposable.DisposeAsync().AsTask().GetAwaiter().GetResult();
                }
                else
                {
                    (_instance as IDisposable)?.Dispose();
                }
            }
            catch (Exception error)
            {
                _environs.Logs.Line(null, "ERROR", "Stop failed: " + Verdict.TraceOf(error));
            }
        }

        static async Task<Verdict> RunRest(Attempt attempt, Task rest)
        {
            try
            {
                await rest.ConfigureAwait(false);
                return default;
            }
            catch (Exception error)
            {
                return Verdict.Of(error, attempt);
            }
        }

        object? Invoke(Attempt attempt)
        {
            var arguments = _parameters.Length == 0
                ? Array.Empty<object?>()
                : new object?[_parameters.Length];
            for (var i = 0; i < arguments.Length; i++)
            {
                arguments[i] = _parameters[i](attempt);
            }
            return _method.Invoke(_instance, BindingFlags.DoNotWrapExceptions, null, arguments, null);
        }

        Outputs OutputsOf(Attempt attempt) => attempt.Outputs ??= new Outputs(_environs.Job);
    }

    /// <summary>Start or Stop of a worker, in one of its forms; or nothing.</summary>
    sealed class Hook
    {
        const BindingFlags Members = BindingFlags.Public | BindingFlags.Instance | BindingFlags.Static;

        readonly string _name;
        readonly MethodInfo? _method;
        readonly Environs _environs;

        Hook(string name, MethodInfo? method, Environs environs)
        {
            _name = name;
            _method = method;
            _environs = environs;
        }

        /// <summary>Finds the hook; refuses one that takes what there is not at that time.</summary>
        internal static Hook Find(Type type, string name, Environs environs)
        {
            var found = Array.FindAll(
                type.GetMethods(Members), method => method.Name == name || method.Name == name + "Async");
            if (found.Length > 1)
            {
                throw Refusal.Handler($"{type.FullName} has several methods {name}; leave one");
            }
            var method = found.Length == 1 ? found[0] : null;
            foreach (var parameter in method?.GetParameters() ?? Array.Empty<ParameterInfo>())
            {
                if (!CanGive(parameter.ParameterType))
                {
                    throw Refusal.Build(
                        $"{type.FullName}.{method!.Name} has to take nothing, a WorkerContext or a"
                        + $" CancellationToken, not {parameter.ParameterType.Name}");
                }
            }
            return new Hook(name, method, environs);
        }

        internal void CallOrRefuse(object? instance)
        {
            try
            {
                Call(instance);
            }
            catch (Exception error)
            {
                throw Refusal.Thrown(_name, error);
            }
        }

        internal void Call(object? instance)
        {
            if (_method is null || (instance is null && !_method.IsStatic))
            {
                return;
            }
            var arguments = Array.ConvertAll(
                _method.GetParameters(), parameter => Given(parameter.ParameterType));
            var result = _method.Invoke(
                instance, BindingFlags.DoNotWrapExceptions, null, arguments, null);
            if (result is ValueTask pending)
            {
                pending.AsTask().GetAwaiter().GetResult();
            }
            (result as Task)?.GetAwaiter().GetResult();
        }

        static bool CanGive(Type type) =>
            type == typeof(WorkerContext) || type == typeof(System.Threading.CancellationToken);

        object Given(Type type) => type == typeof(WorkerContext)
            ? new AttemptContext(_environs, null)
            : (object)System.Threading.CancellationToken.None;
    }
}
