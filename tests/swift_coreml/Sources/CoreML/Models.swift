// What the sources use of Core ML's models.  A model asks another process, through two named pipes, what its function
// takes and gives, and has it computed there.  It insists on the types and shapes that its description states.

public enum MLComputeUnits: Int { case cpuOnly = 0, cpuAndGPU, all, cpuAndNeuralEngine }

public final class MLModelConfiguration {
    public var computeUnits = MLComputeUnits.all
    public var functionName: String?

    public init() {}
}

public struct MLMultiArrayConstraint {
    public let shape: [NSNumber]
    public let dataType: MLMultiArrayDataType
}

public struct MLFeatureDescription {
    public let type: MLFeatureType
    public let multiArrayConstraint: MLMultiArrayConstraint?
}

public struct MLModelDescription {
    public var inputDescriptionsByName: [String: MLFeatureDescription] = [:]
    public var outputDescriptionsByName: [String: MLFeatureDescription] = [:]
}

public final class MLModel {
    public private(set) var modelDescription = MLModelDescription()
    private let name: [String: String]

    private init(_ url: URL, _ configuration: MLModelConfiguration) throws {
        // A compiled package is called as the package, and may carry a hash after a dash.
        let package = url.deletingPathExtension().lastPathComponent.split(separator: "-")[0]
        name = ["package": String(package), "function": configuration.functionName ?? "main"]
        try Pipes.send(["word": "describe", "model": name])
        for port in try Pipes.receive() {
            let kind = port["type"] as! String, shape = (port["shape"] as! [Int]).map { NSNumber(value: $0) }
            let type: MLMultiArrayDataType = kind == "float16" ? .float16 : .float32
            let description =
                kind == "image"
                ? MLFeatureDescription(type: .image, multiArrayConstraint: nil)
                : MLFeatureDescription(
                    type: .multiArray, multiArrayConstraint: MLMultiArrayConstraint(shape: shape, dataType: type))
            if port["given"] as! Bool {
                modelDescription.outputDescriptionsByName[port["name"] as! String] = description
            } else {
                modelDescription.inputDescriptionsByName[port["name"] as! String] = description
            }
        }
    }

    /// A new folder, like Core ML's among the temporary ones.
    public static func compileModel(at url: URL) async throws -> URL {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        return folder
    }

    public static func load(contentsOf url: URL, configuration: MLModelConfiguration) async throws -> MLModel {
        try MLModel(url, configuration)
    }

    public func prediction(from input: any MLFeatureProvider) throws -> any MLFeatureProvider {
        precondition(input.featureNames == Set(modelDescription.inputDescriptionsByName.keys))
        let names = input.featureNames.sorted()
        var numbers: [Float] = []
        for name in names {
            let value = input.featureValue(for: name)!
            if let wanted = modelDescription.inputDescriptionsByName[name]!.multiArrayConstraint {
                let found = value.multiArrayValue!
                precondition(found.dataType == wanted.dataType && found.shape == wanted.shape, "\(name) does not fit")
            }
            numbers += value.numbers
        }
        try Pipes.send(["word": "run", "model": name, "inputs": names], numbers)
        var outputs: [String: Any] = [:]
        for port in try Pipes.receive() {
            let wanted = modelDescription.outputDescriptionsByName[port["name"] as! String]!.multiArrayConstraint!
            let array = try MLMultiArray(shape: wanted.shape, dataType: wanted.dataType)
            array.numbers = try Pipes.numbers(wanted.shape.reduce(1) { $0 * $1.intValue })
            outputs[port["name"] as! String] = MLFeatureValue(multiArray: array)
        }
        return try MLDictionaryFeatureProvider(dictionary: outputs)
    }
}

/// A line of JSON, then float32 numbers.
enum Pipes {
    private static let output = FileHandle(forWritingAtPath: ProcessInfo.processInfo.environment["STAND_IN_ASKS"]!)!
    private static let input = FileHandle(forReadingAtPath: ProcessInfo.processInfo.environment["STAND_IN_HEARS"]!)!

    static func send(_ message: [String: Any], _ numbers: [Float] = []) throws {
        let line = try JSONSerialization.data(withJSONObject: message)
        try output.write(contentsOf: line + [10] + numbers.withUnsafeBytes { Data($0) })
    }

    static func receive() throws -> [[String: Any]] {
        var line = Data()
        while let next = try input.read(upToCount: 1), next[next.startIndex] != 10 { line += next }
        return try JSONSerialization.jsonObject(with: line) as! [[String: Any]]
    }

    static func numbers(_ count: Int) throws -> [Float] {
        var data = Data()
        while data.count < 4 * count { data += try input.read(upToCount: 4 * count - data.count)! }
        return data.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    }
}

public func autoreleasepool<Result>(invoking body: () throws -> Result) rethrows -> Result { try body() }

extension ProcessInfo {
    public enum ThermalState: Int { case nominal, fair, serious, critical }

    public var thermalState: ThermalState { .nominal }
}
