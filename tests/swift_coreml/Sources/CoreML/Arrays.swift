// What the sources use of Core ML's arrays and features, as Apple documents it.
@_exported import CoreVideo
@_exported import Foundation

public enum MLMultiArrayDataType: Int { case double = 0x10040, float32 = 0x10020, float16 = 0x10010, int32 = 0x20020 }
public enum MLFeatureType: Int { case invalid, int64, double, string, image, multiArray, dictionary, sequence, state }

/// Rows are padded to 64 bytes, and what lies between them is not zero.
public class MLMultiArray {
    public let shape, strides: [NSNumber]
    public let dataType: MLMultiArrayDataType
    private let memory: UnsafeMutableRawBufferPointer

    public init(shape: [NSNumber], dataType: MLMultiArrayDataType) throws {
        let size = dataType == .float16 ? 2 : 4
        var strides: [Int] = [], step = 1
        for length in shape.map(\.intValue).reversed() {
            strides.append(step)
            step *= length
            if strides.count == 1 { step = (step * size + 63) / 64 * 64 / size }
        }
        (self.shape, self.dataType) = (shape, dataType)
        self.strides = strides.reversed().map { NSNumber(value: $0) }
        memory = .allocate(byteCount: step * size, alignment: 64)
        memory.initializeMemory(as: UInt8.self, repeating: 0x7f)
    }

    deinit { memory.deallocate() }

    public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try body(UnsafeRawBufferPointer(memory))
    }

    public func withUnsafeMutableBytes<R>(_ body: (UnsafeMutableRawBufferPointer, [Int]) throws -> R) rethrows -> R {
        try body(memory, strides.map(\.intValue))
    }

    /// Offsets in elements, the last axis fastest.
    private var places: [Int] {
        zip(shape, strides).reduce([0]) { found, axis in
            found.flatMap { from in (0..<axis.0.intValue).map { from + $0 * axis.1.intValue } }
        }
    }

    var numbers: [Float] {
        get {
            places.map {
                dataType == .float16
                    ? Float(memory.load(fromByteOffset: 2 * $0, as: Float16.self))
                    : memory.load(fromByteOffset: 4 * $0, as: Float.self)
            }
        }
        set {
            for (place, value) in zip(places, newValue) {
                if dataType == .float16 {
                    memory.storeBytes(of: Float16(value), toByteOffset: 2 * place, as: Float16.self)
                } else {
                    memory.storeBytes(of: value, toByteOffset: 4 * place, as: Float.self)
                }
            }
        }
    }
}

public final class MLFeatureValue {
    public let multiArrayValue: MLMultiArray?
    public let imageBufferValue: CVPixelBuffer?

    public init(multiArray: MLMultiArray) { (multiArrayValue, imageBufferValue) = (multiArray, nil) }
    public init(pixelBuffer: CVPixelBuffer) { (multiArrayValue, imageBufferValue) = (nil, pixelBuffer) }

    /// The planes of an image, red first, or the numbers of an array.
    var numbers: [Float] {
        guard let buffer = imageBufferValue else { return multiArrayValue!.numbers }
        return (0..<3).flatMap { plane in
            (0..<buffer.height).flatMap { y in
                (0..<buffer.width).map { x in
                    Float(buffer.base.load(fromByteOffset: y * buffer.stride + 4 * x + 2 - plane, as: UInt8.self))
                }
            }
        }
    }
}

public protocol MLFeatureProvider {
    var featureNames: Set<String> { get }
    func featureValue(for featureName: String) -> MLFeatureValue?
}

public final class MLDictionaryFeatureProvider: MLFeatureProvider {
    private let features: [String: MLFeatureValue]

    public init(dictionary: [String: Any]) throws { features = dictionary.mapValues { $0 as! MLFeatureValue } }

    public var featureNames: Set<String> { Set(features.keys) }
    public func featureValue(for featureName: String) -> MLFeatureValue? { features[featureName] }
}
