/// A dense float32 array in C order, on the host.
public struct Tensor: Equatable, Sendable {
    public var shape: [Int]
    public var values: [Float]

    public init(_ shape: [Int], _ values: [Float]) {
        precondition(shape.reduce(1, *) == values.count, "\(values.count) values do not fill the shape \(shape)")
        (self.shape, self.values) = (shape, values)
    }

    public init(zeros shape: [Int]) {
        self.init(shape, [Float](repeating: 0, count: shape.reduce(1, *)))
    }

    /// The part `index` of the first axis.
    public subscript(index: Int) -> Tensor {
        let part = Array(shape.dropFirst())
        let size = part.reduce(1, *)
        return Tensor(part, Array(values[index * size..<(index + 1) * size]))
    }
}

/// An error that says in one sentence what was expected and what was found.
public struct EtamError: Error, CustomStringConvertible {
    public let description: String

    public init(_ description: String) { self.description = description }
}
