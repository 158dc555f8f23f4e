#if canImport(CoreML)
import CoreML

extension MLMultiArray {
    /// A new array of `type` with the numbers of a tensor.
    convenience init(_ tensor: Tensor, _ type: MLMultiArrayDataType) throws {
        try self.init(shape: tensor.shape.map { NSNumber(value: $0) }, dataType: type)
        try withUnsafeMutableBytes { bytes, strides in
            let places = offsets(tensor.shape, strides)
            switch type {
            case .float32:
                let out = bytes.bindMemory(to: Float.self)
                for (value, place) in zip(tensor.values, places) { out[place] = value }
            case .float16:
                let out = bytes.bindMemory(to: Float16.self)
                for (value, place) in zip(tensor.values, places) { out[place] = Float16(value) }
            default: throw EtamError("a graph should take float32 or float16, found the type \(type.rawValue)")
            }
        }
    }

    /// The numbers in C order, whatever the strides: rows may be padded.
    func tensor() throws -> Tensor {
        let shape = self.shape.map(\.intValue)
        let places = offsets(shape, strides.map(\.intValue))
        return try withUnsafeBytes { bytes in
            switch dataType {
            case .float32:
                let values = bytes.bindMemory(to: Float.self)
                return Tensor(shape, places.map { values[$0] })
            case .float16:
                let values = bytes.bindMemory(to: Float16.self)
                return Tensor(shape, places.map { Float(values[$0]) })
            default: throw EtamError("a graph should give float32 or float16, found the type \(dataType.rawValue)")
            }
        }
    }
}
#endif

/// Where the elements of an array lie, in C order, counted in elements.
func offsets(_ shape: [Int], _ strides: [Int]) -> [Int] {
    zip(shape, strides).reduce([0]) { places, axis in
        places.flatMap { place in (0..<axis.0).map { place + $0 * axis.1 } }
    }
}
