using System.Reflection;
using System.Runtime.Versioning;

[assembly: AssemblyVersion("1.0.0.0")]
[assembly: AssemblyTitle("Runs WorkManager workers in CoreCLR")]
[assembly: TargetFramework(".NETCoreApp,Version=v3.1")]
