extension Answer {
    /// The mask at the frame's size, row by row, 1 on the object.
    public func mask(width: Int, height: Int) -> [UInt8] {
        resized(lowRes, height: height, width: width).values.map { $0 > 0 ? 1 : 0 }
    }
}

/// Masks at the frame's size of which no two share a pixel: the object with the highest logit has it, of equals the
/// first.
public func disjointMasks(_ answers: [Answer], width: Int, height: Int, rules: Manifest.Rules) -> [[UInt8]] {
    let logits = answers.map { resized($0.lowRes, height: height, width: width).values }
    var masks = answers.map { _ in [UInt8](repeating: 0, count: width * height) }
    for pixel in 0..<width * height {
        guard var winner = logits.indices.first else { break }
        for i in logits.indices where logits[i][pixel] > logits[winner][pixel] { winner = i }
        for i in logits.indices {
            let logit = i == winner ? logits[i][pixel] : min(logits[i][pixel], rules.overlapLogit)
            masks[i][pixel] = logit > 0 ? 1 : 0
        }
    }
    return masks
}

/// Raises 8-connected background components, logits <= 0, of at most `area` pixels to `value`.
func fillHoles(_ logits: Tensor, area: Int, value: Float) -> Tensor {
    guard area > 0 else { return logits }
    let (height, width) = (logits.shape[0], logits.shape[1])
    var found = logits
    var open = logits.values.map { $0 <= 0 }
    for start in open.indices where open[start] {
        var component = [start], next = 0
        open[start] = false
        while next < component.count {
            let (y, x) = component[next].quotientAndRemainder(dividingBy: width)
            next += 1
            for v in max(y - 1, 0)...min(y + 1, height - 1) {
                for u in max(x - 1, 0)...min(x + 1, width - 1) where open[v * width + u] {
                    open[v * width + u] = false
                    component.append(v * width + u)
                }
            }
        }
        if component.count <= area { for pixel in component { found.values[pixel] = value } }
    }
    return found
}
