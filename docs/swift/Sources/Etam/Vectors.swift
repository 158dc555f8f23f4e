import Foundation

/// The test vectors of a bundle: a short clip, what was done with it, every run of a graph, and the answers.
public struct Vectors: Sendable {
    public let index: Index
    private let bytes: Data

    public struct Index: Decodable, Sendable {
        public struct Entry: Decodable, Sendable {
            public let offset: Int
            public let shape: [Int]
            public let dtype: String
        }
        public struct Call: Decodable, Sendable {
            public let graph: String
            public let inputs, outputs: [String: Int]
        }
        public struct Step: Decodable, Sendable {
            public let `do`: String
            public let frame, object, mask, start, max: Int?
            public let points: [[Float]]?
            public let labels: [Int]?
            public let box: [Float]?
        }
        public struct Result: Decodable, Sendable {
            public let frame, object: Int
            public let lowRes: Int
            public let presence, iou: Float

            enum CodingKeys: String, CodingKey {
                case frame, object, presence, iou
                case lowRes = "low_res"
            }
        }
        public let tensors: [Entry]
        public let frames: [Int]
        public let script: [Step]
        public let calls: [Call]
        public let results: [Result]
    }

    public init(bundle: URL) throws {
        let folder = bundle.appendingPathComponent("vectors")
        do {
            index = try JSONDecoder().decode(
                Index.self, from: Data(contentsOf: folder.appendingPathComponent("index.json")))
            bytes = try Data(contentsOf: folder.appendingPathComponent("tensors.bin"), options: .alwaysMapped)
        } catch let error as CocoaError {
            throw EtamError("the test vectors \(folder.path) cannot be read: \(error.localizedDescription)")
        } catch let error as DecodingError {
            throw EtamError("the test vectors \(folder.path) are malformed: \(error)")
        }
    }

    private func raw(_ tensor: Int, _ dtype: String, _ size: Int) throws -> (Index.Entry, Data) {
        guard index.tensors.indices.contains(tensor) else { throw EtamError("the vectors have no tensor \(tensor)") }
        let entry = index.tensors[tensor]
        let end = entry.offset + entry.shape.reduce(1, *) * size
        guard entry.dtype == dtype, (0...bytes.count).contains(entry.offset), (entry.offset...bytes.count).contains(end)
        else {
            throw EtamError("tensor \(tensor) of the vectors should be \(dtype) inside tensors.bin")
        }
        return (entry, bytes.subdata(in: entry.offset..<end))
    }

    public func floats(_ tensor: Int) throws -> Tensor {
        let (entry, data) = try raw(tensor, "float32", 4)
        var found = Tensor(zeros: entry.shape)
        found.values.withUnsafeMutableBytes { _ = data.copyBytes(to: $0) }  // the data may lie at any address
        return found
    }

    public func frame(_ number: Int) throws -> Frame {
        let (entry, data) = try raw(index.frames[number], "uint8", 1)
        return try Frame(width: entry.shape[1], height: entry.shape[0], rgb: [UInt8](data))
    }

    public func mask(_ tensor: Int) throws -> [UInt8] { [UInt8](try raw(tensor, "uint8", 1).1) }
}
