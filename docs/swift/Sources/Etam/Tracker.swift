/// The answer for one object on the current frame.
public struct Answer: Sendable {
    public let object: Int
    /// (S/4, S/4) mask logits; `mask(width:height:)` gives them at the frame's size.
    public let lowRes: Tensor
    public let presence, iou: Float
    /// The object is not on this frame.
    public let lost: Bool

    init(_ object: Int, _ prediction: Prediction, _ rules: Manifest.Rules) {
        (self.object, lowRes, presence, iou) = (object, prediction.lowRes, prediction.presence, prediction.iou)
        lost = prediction.presence <= rules.presenceThreshold
    }
}

/// Tracks objects through a stream of frames, for a camera; memory stays constant.
///
/// `step` advances by one frame, `prompt` adds or corrects an object on the current one.  The memory of a frame is
/// written when the next one arrives, so prompts on a frame may be refined until then.  At the bundle's capacity of
/// prompted frames the first and the latest stay.
public final class Tracker<G: Graphs> {
    let segmenter: Segmenter<G>
    let fillHoleArea: Int
    private var tracks: [(object: Int, track: ObjectTrack<G>)] = []
    private var current: (width: Int, height: Int, features: Features<G.Handle>)?
    /// Number of the current frame, from 0; -1 before the first.
    public private(set) var index = -1

    /// `fillHoleArea`: background components of at most this many low-resolution pixels are filled.
    public init(_ graphs: G, _ manifest: Manifest, fillHoleArea: Int = 0) {
        (segmenter, self.fillHoleArea) = (Segmenter(graphs, manifest), fillHoleArea)
    }

    /// Objects in the order of their first prompt.
    public var objects: [Int] { tracks.map(\.object) }

    /// Frames remembered over all objects, and how many of them with their memory; both have an upper bound.
    public var held: (frames: Int, memories: Int) {
        tracks.map(\.track.bank.held).reduce((0, 0)) { ($0.0 + $1.frames, $0.1 + $1.memories) }
    }

    /// Advances by one frame and finds all objects on it.
    public func step(_ frame: Frame) throws -> [Answer] {
        if let current, (current.width, current.height) != (frame.width, frame.height) {
            throw EtamError(
                "this frame is \(frame.width) x \(frame.height), the ones before it were "
                    + "\(current.width) x \(current.height)")
        }
        let features = try segmenter.encode(frame)
        for i in tracks.indices {
            guard let current else { break }
            try tracks[i].track.settle(segmenter, current.features, index)
            tracks[i].track.bank.keepFirstAndLatest()
            tracks[i].track.bank.forgetPassed(index)
            tracks[i].track.passed = [:]
        }
        index += 1
        current = (frame.width, frame.height, features)
        for i in tracks.indices { try tracks[i].track.track(segmenter, features, index) }
        return answers
    }

    /// Points in pixels of the frame, 1 on the object and 0 off it, a box, or both; they replace the object's points on
    /// this frame.
    public func prompt(
        _ object: Int, points: [(x: Float, y: Float)] = [], labels: [Int] = [],
        box: (x0: Float, y0: Float, x1: Float, y1: Float)? = nil
    ) throws -> [Answer] {
        try edit(object) { track, width, height, features in
            let size = segmenter.manifest.geometry.imageSize
            let points = try Points(points, labels: labels, box: box, width: width, height: height, size: size)
            try track.click(segmenter, features, index, points)
        }
    }

    /// A mask of the frame, row by row, non-zero inside.
    public func prompt(_ object: Int, mask: [UInt8]) throws -> [Answer] {
        try edit(object) { track, width, height, features in
            let square = try squareMask(
                mask, width: width, height: height, size: segmenter.manifest.geometry.imageSize)
            try track.paint(segmenter, features, index, square)
        }
    }

    /// Forgets an object; the others are untouched.
    public func remove(_ object: Int) { tracks.removeAll { $0.object == object } }

    /// Forgets all objects and frames.
    public func reset() { (tracks, current, index) = ([], nil, -1) }

    private func edit(
        _ object: Int, _ change: (inout ObjectTrack<G>, Int, Int, Features<G.Handle>) throws -> Void
    ) throws -> [Answer] {
        guard let current else { throw EtamError("there is no frame to prompt on yet: call step first") }
        let place = tracks.firstIndex { $0.object == object }
        var track = place.map { tracks[$0].track } ?? ObjectTrack(segmenter.memoryRules(), fillHoleArea: fillHoleArea)
        try change(&track, current.width, current.height, current.features)
        if let place { tracks[place].track = track } else { tracks.append((object, track)) }
        return answers
    }

    private var answers: [Answer] {
        tracks.compactMap { object, track in
            track.output(index).map { Answer(object, $0, segmenter.manifest.rules) }
        }
    }
}
