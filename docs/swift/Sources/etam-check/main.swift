// etam-check BUNDLE                   acts out the script of the bundle's vectors on the recorded calls
// etam-check BUNDLE VARIANT [UNITS]   on a Mac: runs a Core ML variant, and prints the report of the device
import Etam
import Foundation

#if canImport(CoreML)
import CoreML
let choices: [String: MLComputeUnits] = [
    "all": .all, "cpu": .cpuOnly, "gpu": .cpuAndGPU, "ne": .cpuAndNeuralEngine,
]
#endif

do {
    let arguments = CommandLine.arguments.dropFirst()
    guard let path = arguments.first else { throw EtamError("usage: etam-check BUNDLE [VARIANT [all|cpu|gpu|ne]]") }
    let bundle = URL(fileURLWithPath: path)
    if arguments.count == 1 {
        let manifest = try Manifest(bundle: bundle), vectors = try Vectors(bundle: bundle)
        let replay = try Replay(vectors, manifest)
        let clip = try checkClip(replay, manifest, vectors)
        print("answers \(clip.answers), pixels agreeing \(clip.agreement), largest error \(clip.error)")
        let repeated = replay.uses.filter { $0 > 1 }.count
        print("calls asked for: \(replay.uses.filter { $0 > 0 }.count) of \(replay.uses.count), \(repeated) repeatedly")
    } else {
        #if canImport(CoreML)
        let words = Array(arguments)
        guard let units = choices[words.count > 2 ? words[2] : "all"] else {
            throw EtamError("units are \(choices.keys.sorted()), found \(words[2])")
        }
        print(try await deviceReport(bundle, variant: words[1], units: units))
        #else
        throw EtamError("Core ML runs on Apple systems only")
        #endif
    }
} catch {
    FileHandle.standardError.write(Data("error: \(error)\n".utf8))
    exit(1)
}
