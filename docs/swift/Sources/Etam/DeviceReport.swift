#if canImport(CoreML)
import CoreML
import Foundation

/// What a device makes of a bundle, as text to report: errors and times per graph, and the clip as a whole.
///
/// Every recorded call runs `repeats` times on its recorded inputs; times are medians and hold the copies of host
/// tensors.  Run it in a release build, without a debugger, on a device that is cool.
public func deviceReport(
    _ bundle: URL, variant: String, units: MLComputeUnits = .all, repeats: Int = 20
) async throws -> String {
    let manifest = try Manifest(bundle: bundle), vectors = try Vectors(bundle: bundle)
    let process = ProcessInfo.processInfo, before = process.thermalState.rawValue
    let start = Date()
    let graphs = try await CoreMLGraphs.open(bundle, manifest, variant: variant, units: units)
    let seconds = Date().timeIntervalSince(start)
    let calls = try checkCalls(graphs, manifest, vectors, repeats: repeats)
    let clip = try checkClip(graphs, manifest, vectors)

    var machine = utsname()
    uname(&machine)
    let name = withUnsafeBytes(of: &machine.machine) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    let names = ["all", "cpu", "cpu and gpu", "cpu and neural engine"]
    let used: [MLComputeUnits] = [.all, .cpuOnly, .cpuAndGPU, .cpuAndNeuralEngine]
    var lines = [
        "device \(name), \(process.operatingSystemVersionString), thermal state \(before), "
            + "then \(process.thermalState.rawValue)",
        "model \(manifest.model), \(variant), units \(zip(used, names).first { $0.0 == units }?.1 ?? "other")",
        String(format: "loaded in %.1f s", seconds),
    ]
    for port in calls {
        lines.append(
            String(format: "%.2f ms  error %.2e  ", port.milliseconds, port.error) + "\(port.graph) \(port.port)")
    }
    lines.append("clip: \(clip.answers) answers, pixels agreeing \(clip.agreement), largest error \(clip.error)")
    return lines.joined(separator: "\n")
}
#endif
