#if canImport(CoreML)
import CoreML
import Foundation

/// The graphs of a bundle as Core ML packages.
///
/// Element types, image or tensor input, one function or several: all of that is read from the packages.  Nothing
/// changes after loading, and predictions take turns, so trackers on several threads may share the graphs.
public final class CoreMLGraphs: Graphs, @unchecked Sendable {
    public typealias Handle = MLMultiArray

    private let models: [String: MLModel]
    private let contracts: [String: Manifest.Contract]
    private let turn = NSLock()

    /// Loads every graph of a variant, one after the other; this takes seconds, the first time longer.
    ///
    /// A package compiled by Xcode is taken from `resources`, by its name alone.  Another one lies in the bundle's
    /// folder and is compiled now; the result is kept in the app's caches until the package changes.
    public static func open(
        _ bundle: URL, _ manifest: Manifest, variant: String, units: MLComputeUnits = .all,
        resources: Bundle = .main
    ) async throws -> CoreMLGraphs {
        guard let files = manifest.variants[variant] else {
            throw EtamError("the bundle has the variants \(manifest.variants.keys.sorted()), not \(variant)")
        }
        guard let programs = manifest.programs?[variant] else {
            throw EtamError("\(variant) holds no Core ML packages")
        }
        // A package that serves several graphs has a function for each.
        if programs.values.contains(where: { $0.function != main }) {
            guard #available(iOS 18, macOS 15, *) else {
                throw EtamError("\(variant) needs iOS 18 or macOS 15: its packages have several functions")
            }
        }
        var models: [String: MLModel] = [:]
        for (graph, file) in files.sorted(by: { $0.key < $1.key }) {
            let model = try await compiled(file, bundle, manifest, resources)
            let configuration = MLModelConfiguration()
            configuration.computeUnits = units
            if #available(iOS 18, macOS 15, *), let function = programs[graph]?.function, function != main {
                configuration.functionName = function
            }
            do {
                models[graph] = try await MLModel.load(contentsOf: model, configuration: configuration)
            } catch {
                throw EtamError("Core ML cannot load \(graph) of \(variant): \(error.localizedDescription)")
            }
        }
        return try CoreMLGraphs(models, manifest.graphs)
    }

    private static let main = "main"

    /// The compiled package of `file`, which is the path of a package in the bundle.
    private static func compiled(
        _ file: String, _ bundle: URL, _ manifest: Manifest, _ resources: Bundle
    ) async throws -> URL {
        let package = bundle.appendingPathComponent(file), files = FileManager.default
        let name = package.deletingPathExtension().lastPathComponent
        if let known = resources.url(forResource: name, withExtension: "mlmodelc") { return known }
        guard files.fileExists(atPath: package.path) else {
            throw EtamError("\(name).mlmodelc is not among the app's resources, and there is no \(package.path)")
        }
        // The list of a package's files names them by their content.
        guard let content = manifest.files?[file + "/Manifest.json"]?.sha256 else {
            throw EtamError("the manifest does not list the files of \(file)")
        }
        let caches = try files.url(for: .cachesDirectory, in: .userDomainMask, appropriateFor: nil, create: true)
        let folder = caches.appendingPathComponent("Etam")
        let kept = folder.appendingPathComponent("\(name)-\(content).mlmodelc")
        if !files.fileExists(atPath: kept.path) {
            let made = try await MLModel.compileModel(at: package)
            try files.createDirectory(at: folder, withIntermediateDirectories: true)
            try files.moveItem(at: made, to: kept)
        }
        return kept
    }

    init(_ models: [String: MLModel], _ contracts: [String: Manifest.Contract]) throws {
        for (graph, contract) in contracts {
            guard let found = models[graph]?.modelDescription else {
                throw EtamError("there is no package of \(graph)")
            }
            for (ports, known) in [
                (contract.inputs, found.inputDescriptionsByName),
                (contract.outputs, found.outputDescriptionsByName),
            ] where Set(ports.map(\.name)) != Set(known.keys) {
                throw EtamError("\(graph) should have the ports \(ports.map(\.name)), found \(known.keys.sorted())")
            }
        }
        (self.models, self.contracts) = (models, contracts)
    }

    public func run(
        _ graph: String, host: [String: Tensor], device: [String: MLMultiArray]
    ) throws -> GraphOutputs<MLMultiArray> {
        guard let model = models[graph], let contract = contracts[graph] else {
            throw EtamError("there is no graph \(graph)")
        }
        // What Core ML hands out by the way goes at once, also in a loop over a whole video.
        return try autoreleasepool {
            var features: [String: MLFeatureValue] = [:]
            for (port, tensor) in host {
                let image = model.modelDescription.inputDescriptionsByName[port]?.type == .image
                features[port] =
                    try image
                    ? MLFeatureValue(pixelBuffer: pixelBuffer(tensor))
                    : MLFeatureValue(multiArray: handle(of: tensor, graph: graph, port: port))
            }
            for (port, array) in device {
                let fits = array.dataType == model.type(of: port)
                features[port] = MLFeatureValue(
                    multiArray: fits ? array : try handle(of: array.tensor(), graph: graph, port: port))
            }
            let provider = try MLDictionaryFeatureProvider(dictionary: features)
            let found = try turn.withLock { try predicted(graph, model, provider) }
            var out = GraphOutputs<MLMultiArray>()
            for port in contract.outputs {
                guard let array = found.featureValue(for: port.name)?.multiArrayValue else {
                    throw EtamError("\(graph) did not give \(port.name) as an array")
                }
                if port.host { out.host[port.name] = try array.tensor() } else { out.device[port.name] = array }
            }
            return out
        }
    }

    private func predicted(
        _ graph: String, _ model: MLModel, _ inputs: MLDictionaryFeatureProvider
    ) throws -> any MLFeatureProvider {
        do { return try model.prediction(from: inputs) } catch {
            throw EtamError("\(graph) failed on Core ML: \(error.localizedDescription)")
        }
    }

    public func handle(of tensor: Tensor, graph: String, port: String) throws -> MLMultiArray {
        try MLMultiArray(tensor, models[graph]?.type(of: port) ?? .float32)
    }

    public func tensor(of handle: MLMultiArray) throws -> Tensor { try handle.tensor() }
}

extension MLModel {
    fileprivate func type(of port: String) -> MLMultiArrayDataType? {
        modelDescription.inputDescriptionsByName[port]?.multiArrayConstraint?.dataType
    }
}
#endif
