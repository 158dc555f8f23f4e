/// An upright frame of 8 bits.
public struct Frame: Sendable {
    public let width, height: Int
    /// Blue, green, red and a byte that is not read, row by row from the top left: what a camera gives.
    let bgra: [UInt8]

    /// From red, green and blue of every pixel, row by row from the top left.
    public init(width: Int, height: Int, rgb: [UInt8]) throws {
        guard width > 0, height > 0, rgb.count == 3 * width * height else {
            throw EtamError("a frame of \(width) x \(height) has 3 values per pixel, found \(rgb.count) values")
        }
        var bgra = [UInt8](repeating: 255, count: 4 * width * height)
        for pixel in 0..<width * height {
            for channel in 0..<3 { bgra[4 * pixel + 2 - channel] = rgb[3 * pixel + channel] }
        }
        self.init(width: width, height: height, bgra: bgra)
    }

    init(width: Int, height: Int, bgra: [UInt8]) { (self.width, self.height, self.bgra) = (width, height, bgra) }
}

/// For each output pixel along an axis the first source pixel it reads and the weights from there on.
private typealias Taps<Weight> = [(first: Int, weights: [Weight])]

/// A frame as the input `image`, (1, 3, size, size): Pillow's antialiased bicubic filter on 8 bits, to the last bit.
///
/// Pillow filters along the rows first, with integer weights in units of 2**-22, and rounds to 8 bits after each pass.
public func squeezed(_ frame: Frame, _ size: Int) -> Tensor {
    let (width, height, row) = (frame.width, frame.height, 4 * size)
    let half: Int32 = 1 << 21

    var narrow = [UInt8](repeating: 0, count: height * row)
    let across = bicubicTaps(width, size)
    let weights = across.flatMap(\.weights), spans = across.map { $0.first..<$0.first + $0.weights.count }
    narrow.withUnsafeMutableBytes { narrow in
        frame.bgra.withUnsafeBytes { source in
            let pixels = source.bindMemory(to: SIMD4<UInt8>.self), out = narrow.bindMemory(to: SIMD4<UInt8>.self)
            weights.withUnsafeBufferPointer { weights in
                for y in 0..<height {
                    var next = 0
                    for (x, span) in spans.enumerated() {
                        var sum = SIMD4<Int32>(repeating: half)
                        for at in y * width + span.lowerBound..<y * width + span.upperBound {
                            sum &+= SIMD4<Int32>(truncatingIfNeeded: pixels[at]) &* weights[next]
                            next += 1
                        }
                        let clipped = (sum &>> 22).clamped(lowerBound: .zero, upperBound: .init(repeating: 255))
                        out[y * size + x] = SIMD4<UInt8>(truncatingIfNeeded: clipped)
                    }
                }
            }
        }
    }
    var planes = Tensor(zeros: [1, 3, size, size])
    var sums = [Int32](repeating: 0, count: row)
    for (y, tap) in bicubicTaps(height, size).enumerated() {
        sums.withUnsafeMutableBufferPointer { sums in
            narrow.withUnsafeBufferPointer { narrow in
                sums.update(repeating: half)
                for (i, weight) in tap.weights.enumerated() {
                    let from = (tap.first + i) * row
                    for x in 0..<row { sums[x] &+= weight &* Int32(narrow[from + x]) }
                }
            }
        }
        planes.values.withUnsafeMutableBufferPointer { planes in
            for x in 0..<size {
                for channel in 0..<3 {
                    let value = UInt8(clamping: sums[4 * x + 2 - channel] >> 22)
                    planes[(channel * size + y) * size + x] = Float(value)
                }
            }
        }
    }
    return planes
}

private func bicubicTaps(_ source: Int, _ target: Int) -> Taps<Int32> {
    let scale = Double(source) / Double(target)
    let stretch = max(scale, 1)
    return (0..<target).map { pixel in
        let centre = (Double(pixel) + 0.5) * scale
        let first = max(Int(centre - 2 * stretch + 0.5), 0)
        let last = min(Int(centre + 2 * stretch + 0.5), source)
        let weights = (first..<last).map { at -> Double in
            let x = abs((Double(at - first) + Double(first) - centre + 0.5) * (1 / stretch))
            if x < 1 { return (1.5 * x - 2.5) * x * x + 1 }
            return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0
        }
        let sum = weights.reduce(0, +)
        return (first, weights.map { Int32(($0 / sum * 4_194_304 + ($0 / sum < 0 ? -0.5 : 0.5))) })
    }
}

/// Resamples an (h, w) map bilinearly, pixel centres at half integers and borders repeated; with `antialias` the
/// triangle of weights widens when shrinking.
public func resized(_ map: Tensor, height: Int, width: Int, antialias: Bool = false) -> Tensor {
    let (rows, columns) = (map.shape[0], map.shape[1])
    var wide = [Float](repeating: 0, count: rows * width)
    map.values.withUnsafeBufferPointer { source in
        for (x, tap) in bilinearTaps(columns, width, antialias).enumerated() {
            for y in 0..<rows {
                var sum: Float = 0
                for (i, weight) in tap.weights.enumerated() { sum += weight * source[y * columns + tap.first + i] }
                wide[y * width + x] = sum
            }
        }
    }
    var out = Tensor(zeros: [height, width])
    out.values.withUnsafeMutableBufferPointer { out in
        wide.withUnsafeBufferPointer { wide in
            for (y, tap) in bilinearTaps(rows, height, antialias).enumerated() {
                for (i, weight) in tap.weights.enumerated() {
                    let from = (tap.first + i) * width
                    for x in 0..<width { out[y * width + x] += weight * wide[from + x] }
                }
            }
        }
    }
    return out
}

/// Positions are rounded to single precision where PyTorch rounds them.
private func bilinearTaps(_ source: Int, _ target: Int, _ antialias: Bool) -> Taps<Float> {
    let scale = Float(source) / Float(target)
    return (0..<target).map { pixel in
        let middle = Double(pixel) + 0.5
        guard antialias else {
            let position = min(max(Float(middle * Double(scale) - 0.5), 0), Float(source - 1))
            let low = Int(position)
            let fraction = position - Float(low)
            return low + 1 < source ? (low, [1 - fraction, fraction]) : (low, [1])
        }
        let shrink = 1 / max(scale, 1)
        let centre = Float(middle) * scale
        let weights = (0..<source).map { max(1 - abs(Float($0) - centre + 0.5) * shrink, 0) }
        let first = weights.firstIndex { $0 > 0 }!, last = weights.lastIndex { $0 > 0 }!
        let sum = weights[first...last].reduce(0, +)
        return (first, weights[first...last].map { $0 / sum })
    }
}
