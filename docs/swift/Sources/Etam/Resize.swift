import Foundation

/// A frame in RGB, 8 bits, row by row from the top left, upright.
public struct Frame: Equatable {
    public let width, height: Int
    public let rgb: [UInt8]

    public init(width: Int, height: Int, rgb: [UInt8]) throws {
        guard width > 0, height > 0, rgb.count == 3 * width * height else {
            throw EtamError("a frame of \(width) x \(height) has 3 values per pixel, found \(rgb.count) values")
        }
        (self.width, self.height, self.rgb) = (width, height, rgb)
    }
}

/// For each output pixel along an axis the first source pixel it reads and the weights from there on.
private typealias Taps<Weight> = [(first: Int, weights: [Weight])]

/// A frame as the input `image`, (1, 3, size, size): Pillow's antialiased bicubic filter on 8 bits, to the last bit.
///
/// Pillow filters along the rows first, with integer weights in units of 2**-22, and rounds to 8 bits after each pass.
public func squeezed(_ frame: Frame, _ size: Int) -> Tensor {
    let (width, height, row) = (frame.width, frame.height, 3 * size)
    let half: Int32 = 1 << 21
    func clipped(_ sum: Int32) -> UInt8 { UInt8(clamping: sum >> 22) }

    var narrow = [UInt8](repeating: 0, count: height * row)
    let across = bicubicTaps(width, size)
    narrow.withUnsafeMutableBufferPointer { narrow in
        frame.rgb.withUnsafeBufferPointer { source in
            for (x, tap) in across.enumerated() {
                tap.weights.withUnsafeBufferPointer { weights in
                    for y in 0..<height {
                        var (r, g, b) = (half, half, half)
                        var at = 3 * (y * width + tap.first)
                        for weight in weights {
                            r &+= weight &* Int32(source[at])
                            g &+= weight &* Int32(source[at + 1])
                            b &+= weight &* Int32(source[at + 2])
                            at += 3
                        }
                        let to = y * row + 3 * x
                        (narrow[to], narrow[to + 1], narrow[to + 2]) = (clipped(r), clipped(g), clipped(b))
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
                    planes[(channel * size + y) * size + x] = Float(clipped(sums[3 * x + channel]))
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
