#if canImport(CoreML)
import CoreML

extension MLMultiArray {
    /// A new array of `type` with the numbers of a tensor.
    convenience init(_ tensor: Tensor, _ type: MLMultiArrayDataType) throws {
        try self.init(shape: tensor.shape.map { NSNumber(value: $0) }, dataType: type)
        try withUnsafeMutableBytes { bytes, strides in
            try tensor.values.withUnsafeBufferPointer { values in
                switch type {
                case .float32:
                    let out = bytes.bindMemory(to: Float.self)
                    forEachElement(tensor.shape, strides) { out[$1] = values[$0] }
                case .float16:
                    let out = bytes.bindMemory(to: Float16.self)
                    forEachElement(tensor.shape, strides) { out[$1] = Float16(values[$0]) }
                default: throw EtamError("a graph should take float32 or float16, found the type \(type.rawValue)")
                }
            }
        }
    }

    /// The numbers in C order, whatever the strides: rows may be padded.
    func tensor() throws -> Tensor {
        var found = Tensor(zeros: shape.map(\.intValue))
        let (shape, strides) = (found.shape, self.strides.map(\.intValue))
        try withUnsafeBytes { bytes in
            try found.values.withUnsafeMutableBufferPointer { out in
                switch dataType {
                case .float32:
                    let values = bytes.bindMemory(to: Float.self)
                    forEachElement(shape, strides) { out[$0] = values[$1] }
                case .float16:
                    let values = bytes.bindMemory(to: Float16.self)
                    forEachElement(shape, strides) { out[$0] = Float(values[$1]) }
                default: throw EtamError("a graph should give float32 or float16, found the type \(dataType.rawValue)")
                }
            }
        }
        return found
    }
}
#endif

/// Calls `body` with the number of every element in C order and with its place in memory, counted in elements.
@inline(__always)
func forEachElement(_ shape: [Int], _ strides: [Int], _ body: (Int, Int) -> Void) {
    let rows = zip(shape, strides).dropLast().reduce([0]) { places, axis in
        places.flatMap { place in (0..<axis.0).map { place + $0 * axis.1 } }
    }
    let length = shape.last ?? 1, step = strides.last ?? 1
    for (row, place) in rows.enumerated() {
        for i in 0..<length { body(row * length + i, place + i * step) }
    }
}
