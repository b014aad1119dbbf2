using System;
using System.Collections.Generic;
using System.IO;
using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;

namespace WorkManager.Host
{
    /// <summary>What an assembly's metadata says, read before anything of it is loaded.</summary>
    sealed class AssemblyFacts
    {
        AssemblyFacts(string name, string framework, Dictionary<string, Version> references)
        {
            Name = name;
            Framework = framework;
            References = references;
        }

        internal string Name { get; }

        /// <summary>As in TargetFrameworkAttribute, such as ".NETCoreApp,Version=v8.0"; or empty.</summary>
        internal string Framework { get; }

        internal Dictionary<string, Version> References { get; }

        /// <summary>Reads the facts; refuses what is no managed assembly.</summary>
        internal static AssemblyFacts Read(Stream image, string file)
        {
            try
            {
                using var reader = new PEReader(image, PEStreamOptions.LeaveOpen);
                if (!reader.HasMetadata)
                {
                    throw Refusal.Build($"{file} holds native code only; a .NET assembly is needed");
                }
                var metadata = reader.GetMetadataReader();
                if (!metadata.IsAssembly)
                {
                    throw Refusal.Build($"{file} is a module, not an assembly");
                }
                return new AssemblyFacts(
                    metadata.GetString(metadata.GetAssemblyDefinition().Name),
                    FrameworkOf(metadata),
                    ReferencesOf(metadata));
            }
            catch (Exception error) when (
                error is BadImageFormatException || error is InvalidOperationException
                || error is IOException || error is ArgumentException)
            {
                throw Refusal.Build($"{file} is no .NET assembly, or it is damaged: {error.Message}");
            }
        }

        /// <summary>Refuses what was built for another kind of .NET, or for a later one.</summary>
        internal void CheckFramework(string file)
        {
            if (Framework.StartsWith(".NETFramework", StringComparison.Ordinal))
            {
                throw Refusal.Build(
                    $"{file} is built for .NET Framework ({Framework}); build it for net{Running.Major}.0"
                    + " or earlier");
            }
            var wanted = WantedVersion();
            if (wanted.Major > Running.Major)
            {
                throw Refusal.Build(
                    $"{file} is built for .NET {wanted.Major}, this host runs .NET {Running}; install"
                    + $" .NET {wanted.Major}, or build it for net{Running.Major}.0 or earlier");
            }
        }

        static Version Running => Environment.Version;

        Version WantedVersion()
        {
            var wanted = new Version(0, 0);
            const string Prefix = ".NETCoreApp,Version=v";
            if (Framework.StartsWith(Prefix, StringComparison.Ordinal)
                && Version.TryParse(Framework.Substring(Prefix.Length), out var said))
            {
                wanted = said;
            }
            return References.TryGetValue("System.Runtime", out var linked) && linked > wanted
                ? linked
                : wanted;
        }

        static Dictionary<string, Version> ReferencesOf(MetadataReader metadata)
        {
            var found = new Dictionary<string, Version>(StringComparer.OrdinalIgnoreCase);
            foreach (var handle in metadata.AssemblyReferences)
            {
                var reference = metadata.GetAssemblyReference(handle);
                found[metadata.GetString(reference.Name)] = reference.Version;
            }
            return found;
        }

        static string FrameworkOf(MetadataReader metadata)
        {
            foreach (var handle in metadata.GetAssemblyDefinition().GetCustomAttributes())
            {
                var attribute = metadata.GetCustomAttribute(handle);
                if (TypeNameOf(metadata, attribute) == "TargetFrameworkAttribute")
                {
                    var value = metadata.GetBlobReader(attribute.Value);
                    return value.ReadUInt16() == 1 ? value.ReadSerializedString() ?? "" : "";
                }
            }
            return "";
        }

        static string TypeNameOf(MetadataReader metadata, CustomAttribute attribute)
        {
            if (attribute.Constructor.Kind != HandleKind.MemberReference)
            {
                return "";
            }
            var member = metadata.GetMemberReference((MemberReferenceHandle)attribute.Constructor);
            return member.Parent.Kind == HandleKind.TypeReference
                ? metadata.GetString(metadata.GetTypeReference((TypeReferenceHandle)member.Parent).Name)
                : "";
        }
    }
}
