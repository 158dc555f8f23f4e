/// Prompts objects anywhere in a stored video and propagates them through it, both ways.
///
/// Every tracked frame stays in memory until the tracker is released, but with `releasePassedFrames`; for a camera use
/// `Tracker`.
public final class VideoTracker<G: Graphs> {
    static var cachedFrames: Int { 4 }

    let segmenter: Segmenter<G>
    let fillHoleArea, frameCount: Int
    let memoryRules: MemoryRules
    let releasePassedFrames, forgetAroundPrompts: Bool
    let load: (Int) throws -> Frame
    private var tracks: [(object: Int, track: ObjectTrack<G>)] = []
    private var cache: [(number: Int, width: Int, height: Int, features: Features<G.Handle>)] = []

    /// `load` gives frame 0 ..< `frameCount`, all of one size.
    ///
    /// `releasePassedFrames`: while propagating, drop what frames ahead cannot read any more, for long videos; going on
    /// from a frame in the middle then has less memory.  `forgetAroundPrompts`: forget tracked frames near a prompted
    /// one.  `promptedFrames`: how many are read at once, from 1 to what the bundle holds, which is the default.
    public init(
        _ graphs: G, _ manifest: Manifest, fillHoleArea: Int = 0, releasePassedFrames: Bool = false,
        forgetAroundPrompts: Bool = false, promptedFrames: Int? = nil, frameCount: Int,
        load: @escaping (Int) throws -> Frame
    ) {
        (segmenter, self.fillHoleArea) = (Segmenter(graphs, manifest), fillHoleArea)
        memoryRules = segmenter.memoryRules(promptedFrames: promptedFrames)
        (self.releasePassedFrames, self.forgetAroundPrompts) = (releasePassedFrames, forgetAroundPrompts)
        (self.frameCount, self.load) = (frameCount, load)
    }

    /// Objects in the order of their first prompt.
    public var objects: [Int] { tracks.map(\.object) }

    /// Frames remembered over all objects, and how many of them with their memory.
    public var held: (frames: Int, memories: Int) {
        tracks.map(\.track.bank.held).reduce((0, 0)) { ($0.0 + $1.frames, $0.1 + $1.memories) }
    }

    /// Forgets an object; the others are untouched.
    public func remove(_ object: Int) { tracks.removeAll { $0.object == object } }

    /// Points in pixels of the frame, 1 on the object and 0 off it, a box, or both; they replace the object's points
    /// there.
    public func prompt(
        _ object: Int, frame number: Int, points: [(x: Float, y: Float)] = [], labels: [Int] = [],
        box: (x0: Float, y0: Float, x1: Float, y1: Float)? = nil
    ) throws -> [Answer] {
        try edit(object, number) { track, width, height, features in
            let size = segmenter.manifest.geometry.imageSize
            let points = try Points(points, labels: labels, box: box, width: width, height: height, size: size)
            try track.click(segmenter, features, number, points)
        }
    }

    /// A mask of the frame, row by row, non-zero inside.
    public func prompt(_ object: Int, frame number: Int, mask: [UInt8]) throws -> [Answer] {
        try edit(object, number) { track, width, height, features in
            let square = try squareMask(
                mask, width: width, height: height, size: segmenter.manifest.geometry.imageSize)
            try track.paint(segmenter, features, number, square)
        }
    }

    /// Tracks all objects from `start`, by default the earliest prompted frame, through `most` frames after it, by
    /// default to the end; `each` gets every frame's number and answers, and returns whether to go on.
    public func propagate(
        from start: Int? = nil, most: Int? = nil, reverse: Bool = false, each: (Int, [Answer]) throws -> Bool
    ) throws {
        try settlePrompts()
        guard let earliest = tracks.compactMap({ $0.track.bank.prompted.keys.min() }).min() else {
            throw EtamError("there is nothing to track: prompt an object first")
        }
        let first = start ?? earliest, count = most ?? frameCount
        guard (0..<frameCount).contains(first), count >= 0 else {
            throw EtamError("frame \(first) is outside the video of \(frameCount) frames, or \(count) is negative")
        }
        if reverse && first == 0 { return }
        let last = reverse ? max(first - count, 0) : min(first + count, frameCount - 1)
        for number in stride(from: first, through: last, by: reverse ? -1 : 1) {
            try settlePrompts()
            for i in tracks.indices {
                if tracks[i].track.bank.prompted[number] != nil {
                    if forgetAroundPrompts { tracks[i].track.bank.forgetAround(number) }
                    tracks[i].track.passed[number] = reverse
                    continue
                }
                let features = try encoded(number).features
                try tracks[i].track.track(segmenter, features, number, reverse: reverse)
                try tracks[i].track.settle(segmenter, features, number)
            }
            let found = answers(number)
            if releasePassedFrames {
                for i in tracks.indices { tracks[i].track.bank.forgetPassed(number, reverse: reverse) }
            }
            if try !each(number, found) { return }
        }
    }

    /// Writes the memories of all prompts that are not in memory yet.
    private func settlePrompts() throws {
        for number in Set(tracks.flatMap { $0.track.pending.keys }).sorted() {
            for i in tracks.indices where tracks[i].track.pending[number] != nil {
                try tracks[i].track.settle(segmenter, try encoded(number).features, number)
                if forgetAroundPrompts { tracks[i].track.bank.forgetAround(number) }
            }
        }
    }

    /// The size and features of a frame; those of the latest few are kept.
    private func encoded(
        _ number: Int
    ) throws -> (number: Int, width: Int, height: Int, features: Features<G.Handle>) {
        if let known = cache.first(where: { $0.number == number }) { return known }
        guard (0..<frameCount).contains(number) else {
            throw EtamError("frame \(number) is outside the video of \(frameCount) frames")
        }
        let frame = try load(number)
        cache.append((number, frame.width, frame.height, try segmenter.encode(frame)))
        cache.removeFirst(max(0, cache.count - Self.cachedFrames))
        return cache[cache.count - 1]
    }

    private func edit(
        _ object: Int, _ number: Int, _ change: (inout ObjectTrack<G>, Int, Int, Features<G.Handle>) throws -> Void
    ) throws -> [Answer] {
        let (_, width, height, features) = try encoded(number)
        let place = tracks.firstIndex { $0.object == object }
        var track = place.map { tracks[$0].track } ?? ObjectTrack(memoryRules, fillHoleArea: fillHoleArea)
        try change(&track, width, height, features)
        if let place { tracks[place].track = track } else { tracks.append((object, track)) }
        return answers(number)
    }

    private func answers(_ number: Int) -> [Answer] {
        tracks.compactMap { object, track in
            track.output(number).map { Answer(object, $0, segmenter.manifest.rules) }
        }
    }
}
