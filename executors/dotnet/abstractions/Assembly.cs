using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.Versioning;

[assembly: AssemblyVersion("1.0.0.0")]
[assembly: AssemblyTitle("Types for WorkManager workers; optional")]
[assembly: TargetFramework(".NETCoreApp,Version=v3.1")]
[assembly: InternalsVisibleTo("WorkManager.Bridge")]
