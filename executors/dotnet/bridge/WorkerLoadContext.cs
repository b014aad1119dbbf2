using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Runtime.Loader;

namespace WorkManager.Host
{
    /// <summary>Where a worker's assemblies live: its own copies, but never a second copy of ours.</summary>
    /// <remarks>
    /// Never unloaded: a worker is replaced with its process. An assembly that the runtime has, too, is
    /// taken from whichever is newer, as `dotnet` itself does.
    /// </remarks>
    sealed class WorkerLoadContext : AssemblyLoadContext
    {
        static readonly Dictionary<string, Assembly> Ours = new[]
        {
            typeof(WorkerLoadContext).Assembly, typeof(CloudEvent).Assembly,
        }.ToDictionary(assembly => assembly.GetName().Name!, StringComparer.OrdinalIgnoreCase);

        static readonly Dictionary<string, string> Platform = PlatformFiles();

        readonly string _folder;
        readonly AssemblyDependencyResolver? _resolver;

        /// <param name="mainFile">The worker's assembly on disk; empty if it comes as bytes.</param>
        internal WorkerLoadContext(string mainFile)
            : base("worker", isCollectible: false)
        {
            _folder = mainFile.Length > 0 ? Path.GetDirectoryName(mainFile)! : "";
            _resolver = mainFile.Length > 0 ? new AssemblyDependencyResolver(mainFile) : null;
        }

        /// <summary>Refuses a reference that nothing can resolve.</summary>
        internal void Check(AssemblyFacts facts, string file)
        {
            foreach (var (name, version) in facts.References)
            {
                if (!Ours.ContainsKey(name) && !Platform.ContainsKey(name) && FileOf(name, version) == null)
                {
                    throw Refusal.Build(
                        $"{file} needs {name} {version}, which is neither in the upload nor part of .NET"
                        + $" {Environment.Version}; upload the folder that `dotnet publish` makes");
                }
            }
        }

        protected override Assembly? Load(AssemblyName name)
        {
            if (Ours.TryGetValue(name.Name ?? "", out var ours))
            {
                return ours;
            }
            var file = FileOf(name.Name!, name.Version);
            return file is null || IsPlatformNewer(name.Name!, file) ? null : LoadFromAssemblyPath(file);
        }

        protected override IntPtr LoadUnmanagedDll(string name)
        {
            var file = _resolver?.ResolveUnmanagedDllToPath(name);
            return file is null ? IntPtr.Zero : LoadUnmanagedDllFromPath(file);
        }

        static bool IsPlatformNewer(string name, string file) =>
            Platform.TryGetValue(name, out var own)
            && AssemblyName.GetAssemblyName(own).Version >= AssemblyName.GetAssemblyName(file).Version;

        static Dictionary<string, string> PlatformFiles()
        {
            var listed = AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES") as string ?? "";
            var files = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
            foreach (var file in listed.Split(':', StringSplitOptions.RemoveEmptyEntries))
            {
                files[Path.GetFileNameWithoutExtension(file)] = file;
            }
            return files;
        }

        string? FileOf(string name, Version? version)
        {
            if (_resolver is null)
            {
                return null;
            }
            var wanted = new AssemblyName(name) { Version = version };
            if (_resolver.ResolveAssemblyToPath(wanted) is string resolved)
            {
                return resolved;
            }
            var beside = Path.Combine(_folder, name + ".dll");
            return File.Exists(beside) ? beside : null;
        }
    }
}
