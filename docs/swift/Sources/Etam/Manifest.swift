import Foundation

/// What `manifest.json` tells a host.  Every size, threshold and learned number comes from there.
public struct Manifest: Decodable, Sendable {
    /// Version of the bundle format that this code reads.
    public static let format = 1

    public let format: Int
    public let model: String
    public let geometry: Geometry
    public let rules: Rules
    public let constants: Constants
    /// For each variant the file or package of every graph, relative to the bundle.
    public let variants: [String: [String: String]]
    public let graphs: [String: Contract]
    /// For each Core ML variant what the package of every graph holds.
    public let programs: [String: [String: Program]]?
    /// Every file of the bundle.
    public let files: [String: File]?

    /// Sizes in pixels, cells, channels and frames.
    public struct Geometry: Decodable, Sendable {
        public let imageSize, stride, width, memoryWidth: Int
        public let recentMemories, recentPointers, promptedFrames, promptSlots: Int

        enum CodingKeys: String, CodingKey {
            case imageSize = "image_size"
            case stride, width
            case memoryWidth = "memory_width"
            case recentMemories = "recent_memories"
            case recentPointers = "recent_pointers"
            case promptedFrames = "prompted_frames"
            case promptSlots = "prompt_slots"
        }

        /// Side of low-resolution masks in pixels.
        public var maskSize: Int { imageSize / 4 }
        public var pointerSlots: Int { promptedFrames + recentPointers }
        public var temporalRows: Int { recentMemories + 1 }
        /// Memory slots of the memory-attention graphs, ascending.
        public var memoryCounts: [Int] { Set([1, 1 + recentMemories, promptedFrames + recentMemories]).sorted() }
    }

    /// Numbers that the host applies.  Logits are before the sigmoid.
    public struct Rules: Decodable, Sendable {
        public let presenceThreshold, absentLogit, stabilityDelta, maskInputLimit: Float
        public let maskScale, maskBias, holeLogit, overlapLogit: Float
        /// A ratio of counts is compared with it, so it is not rounded to single precision.
        public let stabilityThreshold: Double

        enum CodingKeys: String, CodingKey {
            case presenceThreshold = "presence_threshold"
            case absentLogit = "absent_logit"
            case stabilityDelta = "stability_delta"
            case stabilityThreshold = "stability_threshold"
            case maskInputLimit = "mask_input_limit"
            case maskScale = "mask_scale"
            case maskBias = "mask_bias"
            case holeLogit = "hole_logit"
            case overlapLogit = "overlap_logit"
        }
    }

    /// Learned numbers that the host needs.
    public struct Constants: Decodable, Sendable {
        public let noObjectPointer, maskDownsample: [Float]
        public let maskDownsampleBias: Float

        enum CodingKeys: String, CodingKey {
            case noObjectPointer = "no_object_pointer"
            case maskDownsample = "mask_downsample"
            case maskDownsampleBias = "mask_downsample_bias"
        }
    }

    /// One tensor at the edge of a graph.
    public struct Port: Decodable, Sendable {
        public let name: String
        public let shape: [Int]
        public let host: Bool
        /// Errors are measured against the largest magnitude of the tensor or this, whichever is larger.
        public let unit: Float
    }

    public struct Contract: Decodable, Sendable {
        public let inputs, outputs: [Port]
    }

    public struct Program: Decodable, Sendable {
        /// Function of the package that computes the graph.
        public let function: String
    }

    public struct File: Decodable, Sendable {
        public let sha256: String
    }

    /// Reads a bundle's manifest.
    public init(bundle: URL) throws {
        let file = bundle.appendingPathComponent("manifest.json")
        struct Version: Decodable { let format: Int }
        do {
            let data = try Data(contentsOf: file)
            let version = try JSONDecoder().decode(Version.self, from: data).format
            guard version == Self.format else {
                throw EtamError("\(file.path): this code reads bundle format \(Self.format), found \(version)")
            }
            self = try JSONDecoder().decode(Manifest.self, from: data)
        } catch let error as DecodingError {
            throw EtamError("\(file.path) is malformed: \(error)")
        } catch let error as CocoaError {
            throw EtamError("\(file.path) cannot be read: \(error.localizedDescription)")
        }
    }
}
