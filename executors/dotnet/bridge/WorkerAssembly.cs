using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection;

namespace WorkManager.Host
{
    /// <summary>From bytes or a folder to a loaded assembly, or to a refusal in one line.</summary>
    static class WorkerAssembly
    {
        const string SingleFile = "the assembly";

        /// <param name="wanted">Name of the assembly that the handler asks for; or empty.</param>
        internal static Assembly Load(Job job, string wanted)
        {
            if (job.Folder.Length == 0)
            {
                return LoadBytes(job.TakeCode(), wanted);
            }
            var file = MainFileOf(job.Folder, wanted);
            AssemblyFacts facts;
            using (var image = File.OpenRead(file))
            {
                facts = AssemblyFacts.Read(image, Path.GetFileName(file));
            }
            facts.CheckFramework(Path.GetFileName(file));
            var context = new WorkerLoadContext(file);
            context.Check(facts, Path.GetFileName(file));
            return context.LoadFromAssemblyPath(file);
        }

        static Assembly LoadBytes(byte[] code, string wanted)
        {
            using var image = new MemoryStream(code, writable: false);
            var facts = AssemblyFacts.Read(image, SingleFile);
            if (wanted.Length > 0 && !SameName(wanted, facts.Name))
            {
                throw Refusal.Handler($"the handler names assembly {wanted}, the upload is {facts.Name}");
            }
            facts.CheckFramework(facts.Name);
            var context = new WorkerLoadContext("");
            context.Check(facts, facts.Name);
            image.Position = 0;
            return context.LoadFromStream(image);
        }

        /// <summary>The named one, the one that has a .deps.json, or the only one.</summary>
        static string MainFileOf(string folder, string wanted)
        {
            var files = Directory.GetFiles(folder, "*.dll");
            if (wanted.Length > 0)
            {
                return files.FirstOrDefault(file => SameName(wanted, NameOf(file)))
                    ?? throw Refusal.Handler($"the upload has no {wanted}.dll; it has {Listed(files)}");
            }
            var described = Directory.GetFiles(folder, "*.deps.json")
                .Select(file => Path.Combine(folder, Path.GetFileName(file)[..^".deps.json".Length] + ".dll"))
                .Where(File.Exists)
                .ToArray();
            var candidates = described.Length > 0 ? described : files;
            if (candidates.Length == 1)
            {
                return candidates[0];
            }
            throw Refusal.Build(
                candidates.Length == 0
                    ? "the upload has no .dll in its top folder"
                    : $"the upload has several assemblies ({Listed(candidates)}) and no single .deps.json;"
                        + " name one in the handler: Assembly::Namespace.Type::Method");
        }

        static bool SameName(string wanted, string name) =>
            string.Equals(wanted, name, StringComparison.OrdinalIgnoreCase);

        static string NameOf(string file) => Path.GetFileNameWithoutExtension(file);

        static string Listed(IEnumerable<string> files) =>
            string.Join(", ", files.Select(NameOf).OrderBy(name => name, StringComparer.Ordinal).Take(10));
    }
}
