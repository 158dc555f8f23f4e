/// What runs a bundle's graphs.  Tracking knows nothing else of Core ML or of any other runtime.
///
/// Small tensors, those whose port says `host` in the manifest, are `Tensor`s.  The others are handles that only the
/// backend looks into: they are passed from graph to graph as they came, and may stay where they were computed.
public protocol Graphs {
    associatedtype Handle

    /// Runs one graph: its host and its other inputs by port, and its outputs likewise.  What a run returns is never
    /// written again, because memories are kept.
    func run(_ graph: String, host: [String: Tensor], device: [String: Handle]) throws -> GraphOutputs<Handle>

    /// A handle of a host array, in the type that `port` of `graph` takes.
    func handle(of tensor: Tensor, graph: String, port: String) throws -> Handle

    /// The numbers behind a handle.
    func tensor(of handle: Handle) throws -> Tensor
}

/// The outputs of one run by port.
public struct GraphOutputs<Handle> {
    public var host: [String: Tensor]
    public var device: [String: Handle]

    public init(host: [String: Tensor] = [:], device: [String: Handle] = [:]) {
        (self.host, self.device) = (host, device)
    }

    func tensor(_ port: String) throws -> Tensor {
        guard let found = host[port] else { throw EtamError("a graph did not give its output \(port)") }
        return found
    }

    func handle(_ port: String) throws -> Handle {
        guard let found = device[port] else { throw EtamError("a graph did not give its output \(port)") }
        return found
    }
}
