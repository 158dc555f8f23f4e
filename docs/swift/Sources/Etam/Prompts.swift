/// Prompts: checked in the frame's pixels, moved to the square input, written into the decoder's ports.

/// Clicks and box corners in pixels of the square input.
public struct Points: Sendable {
    /// Labels by column of `point_label`: not a point, off the object, on it, first and second corner of a box.
    public static let labels = [-1, 0, 1, 2, 3]
    static let padding = -1, firstCorner = 2, secondCorner = 3

    public private(set) var xy: [(x: Float, y: Float)] = []
    public private(set) var kinds: [Int] = []

    public var count: Int { kinds.count }

    /// No points: a tracked frame.
    public init() {}

    /// Points in pixels of a frame of `width` x `height`, 1 on the object and 0 off it; a box x0, y0, x1, y1 comes
    /// before them.
    public init(
        _ points: [(x: Float, y: Float)], labels: [Int], box: (x0: Float, y0: Float, x1: Float, y1: Float)? = nil,
        width: Int, height: Int, size: Int
    ) throws {
        guard points.count == labels.count else {
            throw EtamError("\(points.count) points need as many labels, found \(labels.count)")
        }
        if let box {
            guard box.x0 < box.x1, box.y0 < box.y1 else {
                throw EtamError("a box needs x0 < x1 and y0 < y1, found \(box)")
            }
            xy = [(box.x0, box.y0), (box.x1, box.y1)]
            kinds = [Self.firstCorner, Self.secondCorner]
        }
        xy += points
        kinds += labels
        guard !kinds.isEmpty else { throw EtamError("a prompt needs points with labels, a box, or a mask") }
        let (w, h) = (Float(width), Float(height))
        for (point, kind) in zip(xy, kinds) {
            guard Self.labels.contains(kind) else { throw EtamError("labels are among \(Self.labels), found \(kind)") }
            guard point.x.isFinite, point.y.isFinite else { throw EtamError("points are finite, found \(point)") }
            guard kind == Self.padding || (0...w).contains(point.x) && (0...h).contains(point.y) else {
                throw EtamError("the point \(point) lies outside the frame of \(width) x \(height) pixels")
            }
        }
        xy = xy.map { ($0.x / w * Float(size), $0.y / h * Float(size)) }
    }

    /// The points followed by the padding point; without points, two of them.
    var padded: Points {
        var found = self
        for _ in 0..<(count == 0 ? 2 : 1) {
            found.xy.append((0, 0))
            found.kinds.append(Self.padding)
        }
        return found
    }

    /// The ports `points` and `point_label`; slots after the last point stay zero, which masks them.
    func ports(slots: Int) throws -> [String: Tensor] {
        guard count <= slots else {
            throw EtamError("a frame takes at most \(slots - 1) points, a box counts as two, found \(count - 1)")
        }
        var points = Tensor(zeros: [1, slots, 2])
        var labels = Tensor(zeros: [1, slots, Self.labels.count])
        for slot in 0..<count {
            points.values[2 * slot] = xy[slot].x
            points.values[2 * slot + 1] = xy[slot].y
            labels.values[Self.labels.count * slot + Self.labels.firstIndex(of: kinds[slot])!] = 1
        }
        return ["points": points, "point_label": labels]
    }
}

/// A mask of the frame, non-zero inside, as 0 and 1 at the model's size.
public func squareMask(_ mask: [UInt8], width: Int, height: Int, size: Int) throws -> Tensor {
    guard mask.count == width * height else {
        throw EtamError("a mask of a \(width) x \(height) frame has as many values, found \(mask.count)")
    }
    let binary = Tensor([height, width], mask.map { $0 == 0 ? 0 : 1 })
    if (width, height) == (size, size) { return binary }
    let resized = resized(binary, height: size, width: size, antialias: true)
    return Tensor(resized.shape, resized.values.map { $0 >= 0.5 ? 1 : 0 })
}
