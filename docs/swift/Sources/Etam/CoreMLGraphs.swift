#if canImport(CoreML)
import CoreML
import Foundation

/// The graphs of a bundle as Core ML packages.
///
/// Element types, image or tensor input, one function or several: all of that is read from the packages.
public final class CoreMLGraphs: Graphs {
    public typealias Handle = MLMultiArray

    private let models: [String: MLModel]
    private let contracts: [String: Manifest.Contract]

    /// Loads every graph of a variant; this takes seconds the first time, so not on the main thread.
    ///
    /// A package compiled by Xcode is taken from `resources`; otherwise it is compiled now, from the bundle's folder.
    public static func open(
        _ bundle: URL, _ manifest: Manifest, variant: String, units: MLComputeUnits = .all,
        resources: Bundle = .main
    ) async throws -> CoreMLGraphs {
        guard let files = manifest.variants[variant] else {
            throw EtamError("the bundle has the variants \(manifest.variants.keys.sorted()), not \(variant)")
        }
        var compiled: [String: URL] = [:]
        var models: [String: MLModel] = [:]
        for (graph, file) in files {
            if compiled[file] == nil {
                let package = bundle.appendingPathComponent(file)
                let name = package.deletingPathExtension().lastPathComponent
                let known = resources.url(forResource: name, withExtension: "mlmodelc")
                if let known {
                    compiled[file] = known
                } else {
                    compiled[file] = try await MLModel.compileModel(at: package)
                }
            }
            let configuration = MLModelConfiguration()
            configuration.computeUnits = units
            // A package that serves several graphs has a function for each.
            if let function = manifest.programs?[variant]?[graph]?.function, function != "main" {
                guard #available(iOS 18, macOS 15, *) else {
                    throw EtamError("\(variant) needs iOS 18 or macOS 15: its packages have several functions")
                }
                configuration.functionName = function
            }
            models[graph] = try await MLModel.load(contentsOf: compiled[file]!, configuration: configuration)
        }
        return try CoreMLGraphs(models, manifest.graphs)
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
        let found = try model.prediction(from: MLDictionaryFeatureProvider(dictionary: features))
        var out = GraphOutputs<MLMultiArray>()
        for port in contract.outputs {
            guard let array = found.featureValue(for: port.name)?.multiArrayValue else {
                throw EtamError("\(graph) did not give \(port.name) as an array")
            }
            if port.host { out.host[port.name] = try array.tensor() } else { out.device[port.name] = array }
        }
        return out
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
