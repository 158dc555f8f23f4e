/// Graphs that compute nothing: they answer a run with what was recorded for the same inputs, and refuse any other.
/// So the host is tested with nothing but a bundle's vectors, on any machine.
public final class Replay: Graphs {
    /// A recorded tensor, by its number.
    public typealias Handle = Int

    private let vectors: Vectors
    private let manifest: Manifest
    private var tensors: [Int: Tensor] = [:]
    /// What recorded calls returned, and which of it are memories of prompted frames.
    private let returned, prompted: Set<Int>
    /// How often each recorded call was asked for.
    public private(set) var uses: [Int]

    /// Host inputs may differ from the recorded ones by this, relative to the largest magnitude or 1.
    static let tolerance: Float = 1e-5
    /// Memories of prompted frames were read before their call was recorded again with rounded logits, so no recorded
    /// call returned what was read.  The first use says which memory is meant, for good.
    private var meant: [Int: Int] = [:]

    public init(_ vectors: Vectors, _ manifest: Manifest) throws {
        (self.vectors, self.manifest) = (vectors, manifest)
        let calls = vectors.index.calls
        uses = calls.map { _ in 0 }
        returned = Set(calls.flatMap(\.outputs.values))
        prompted = Set(
            try calls.filter { try $0.inputs["binarize"].map { try vectors.floats($0).values == [1] } ?? false }
                .flatMap(\.outputs.values))
    }

    public func run(_ graph: String, host: [String: Tensor], device: [String: Int]) throws -> GraphOutputs<Int> {
        guard let contract = manifest.graphs[graph] else { throw EtamError("there is no graph \(graph)") }
        let given = Set(host.keys).union(device.keys), wanted = Set(contract.inputs.map(\.name))
        guard given == wanted else { throw EtamError("\(graph) takes \(wanted.sorted()), found \(given.sorted())") }
        for port in contract.inputs where port.host && host[port.name]?.shape != port.shape {
            throw EtamError("\(graph) takes \(port.name) as a host tensor of the shape \(port.shape)")
        }
        let known = try vectors.index.calls.indices.compactMap { try match($0, graph, host, device) }
        guard let (call, newlyMeant) = known.min(by: { uses[$0.call] < uses[$1.call] }) else {
            throw EtamError("\(graph) was never run on these inputs while the vectors were recorded")
        }
        uses[call] += 1
        meant.merge(newlyMeant) { old, _ in old }
        var out = GraphOutputs<Int>()
        for port in contract.outputs {
            guard let tensor = vectors.index.calls[call].outputs[port.name] else { continue }
            if port.host { out.host[port.name] = try floats(tensor) } else { out.device[port.name] = tensor }
        }
        return out
    }

    public func handle(of tensor: Tensor, graph: String, port: String) throws -> Int {
        guard
            let known = try vectors.index.tensors.indices.first(where: {
                try vectors.index.tensors[$0].shape == tensor.shape && floats($0) == tensor
            })
        else { throw EtamError("the vectors have no such tensor for \(port) of \(graph)") }
        return known
    }

    public func tensor(of handle: Int) throws -> Tensor { try floats(handle) }

    /// The recorded call and the memories that it would settle, if the inputs are its inputs.
    private func match(
        _ call: Int, _ graph: String, _ host: [String: Tensor], _ device: [String: Int]
    ) throws -> (call: Int, meant: [Int: Int])? {
        let recorded = vectors.index.calls[call]
        guard recorded.graph == graph else { return nil }
        // Memories of prompted frames are recorded from logits rounded to 1/64.
        let rounded = graph == "memory_encoder" && host["binarize"]?.values == [1]
        for (port, tensor) in host {
            var values = tensor.values
            if rounded && port == "mask_logits" {
                values = values.map { (min(max($0, -100), 100) * 64).rounded(.toNearestOrEven) / 64 }
            }
            guard let other = recorded.inputs[port] else { return nil }
            let expected = try floats(other)
            guard expected.shape == tensor.shape, difference(values, expected.values, unit: 1) <= Self.tolerance
            else { return nil }
        }
        var found: [Int: Int] = [:]
        for (port, tensor) in device {
            guard let other = recorded.inputs[port] else { return nil }
            if returned.contains(other) {
                guard tensor == other else { return nil }
                continue
            }
            guard prompted.contains(tensor), (meant[other] ?? found[other] ?? tensor) == tensor else { return nil }
            if meant[other] == nil {
                guard !meant.values.contains(tensor) else { return nil }
                found[other] = tensor
            }
        }
        return (call, found)
    }

    private func floats(_ tensor: Int) throws -> Tensor {
        if let known = tensors[tensor] { return known }
        let read = try vectors.floats(tensor)
        tensors[tensor] = read
        return read
    }
}

/// max|a - b| / max(max|b|, unit), infinite if a number is not finite.
func difference(_ a: [Float], _ b: [Float], unit: Float) -> Float {
    var scale = unit, most: Float = 0
    for (x, y) in zip(a, b) {
        guard x.isFinite, y.isFinite else { return .infinity }
        scale = max(scale, abs(y))
        most = max(most, abs(x - y))
    }
    return a.count == b.count ? (scale > 0 ? most / scale : most) : .infinity
}
