import Etam
import Foundation

/// Messages over a pair of pipes: a line of JSON, then the float32 numbers of the tensors it lists and as many bytes as
/// it says.
final class Wire {
    struct Message: Codable {
        struct Listed: Codable {
            let name: String
            let shape: [Int]
        }
        struct Found: Codable {
            let object: Int
            let presence, iou: Float
            let lost: Bool
        }
        var word: String
        var numbers: [String: Int] = [:]
        var device: [String: Int] = [:]
        var points: [[Float]] = []
        var labels: [Int] = []
        var box: [Float] = []
        var found: [Found] = []
        var text = ""
        var tensors: [Listed] = []
        var bytes = 0
    }

    private let input = FileHandle.standardInput, output = FileHandle.standardOutput

    func send(_ message: Message, _ tensors: [String: Tensor] = [:], bytes: [UInt8] = []) throws {
        var message = message
        let names = tensors.keys.sorted()
        message.tensors = names.map { Message.Listed(name: $0, shape: tensors[$0]!.shape) }
        message.bytes = bytes.count
        var data = try JSONEncoder().encode(message)
        data.append(10)
        for name in names { tensors[name]!.values.withUnsafeBytes { data.append(contentsOf: $0) } }
        data.append(contentsOf: bytes)
        try output.write(contentsOf: data)
    }

    func receive() throws -> (message: Message, tensors: [String: Tensor], bytes: [UInt8])? {
        var line = Data()
        while let next = try input.read(upToCount: 1), !next.isEmpty, next[next.startIndex] != 10 { line += next }
        if line.isEmpty { return nil }
        let message = try JSONDecoder().decode(Message.self, from: line)
        var tensors: [String: Tensor] = [:]
        for listed in message.tensors {
            let data = try read(4 * listed.shape.reduce(1, *))
            tensors[listed.name] = Tensor(listed.shape, data.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) })
        }
        return (message, tensors, [UInt8](try read(message.bytes)))
    }

    private func read(_ count: Int) throws -> Data {
        var data = Data()
        while data.count < count {
            guard let part = try input.read(upToCount: count - data.count), !part.isEmpty else {
                throw EtamError("the other side has closed the pipe")
            }
            data += part
        }
        return data
    }
}

/// Graphs that run in the process at the other end; a handle is a number that it knows.
struct WiredGraphs: Graphs {
    let wire: Wire

    func run(_ graph: String, host: [String: Tensor], device: [String: Int]) throws -> GraphOutputs<Int> {
        try wire.send(Wire.Message(word: "run", device: device, text: graph), host)
        guard let (message, tensors, _) = try wire.receive() else { throw EtamError("no answer from \(graph)") }
        guard message.word == "ran" else { throw EtamError(message.text) }
        return GraphOutputs(host: tensors, device: message.device)
    }

    func handle(of tensor: Tensor, graph: String, port: String) throws -> Int { throw EtamError("not needed here") }

    func tensor(of handle: Int) throws -> Tensor { throw EtamError("not needed here") }
}
