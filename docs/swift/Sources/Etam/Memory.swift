/// The memory rules: which frames are remembered, with which temporal row, and whose pointers are read.
///
/// Index arithmetic only: memories and outputs are opaque.

/// What one frame left behind for one object.  `memory` is nil when it is too old to be read spatially; `output`
/// carries the object pointer.
public struct Remembered<Memory, Output> {
    public var memory: Memory?
    public let output: Output

    public init(memory: Memory?, output: Output) { (self.memory, self.output) = (memory, output) }
}

/// What a frame attends to: memories with their temporal rows, and outputs whose pointers are read.
public struct Recall<Memory, Output> {
    public var memories: [(memory: Memory, row: Int)] = []
    public var outputs: [Output] = []
}

/// Capacities in frames.
public struct MemoryRules: Sendable {
    public let recentMemories, recentPointers, promptedFrames: Int

    public init(recentMemories: Int, recentPointers: Int, promptedFrames: Int) {
        (self.recentMemories, self.recentPointers) = (recentMemories, recentPointers)
        self.promptedFrames = promptedFrames
    }

    /// Temporal row of prompted frames.
    public var promptedRow: Int { recentMemories }
}

/// SAM 2's choice of prompted frames: the nearest before, the nearest at or after, then the nearest of the rest, the
/// earlier of two equals first; a count of one takes the nearest of all.
public func closestFrames(_ frame: Int, _ candidates: [Int], _ count: Int) -> [Int] {
    let frames = candidates.sorted()
    if frames.count <= count { return frames }
    let byDistance = frames.sorted { (abs($0 - frame), $0) < (abs($1 - frame), $1) }
    if count == 1 { return [byDistance[0]] }
    let chosen = [frames.last { $0 < frame }, frames.first { $0 >= frame }].compactMap { $0 }
    let rest = byDistance.filter { !chosen.contains($0) }
    return (chosen + rest.prefix(count - chosen.count)).sorted()
}

/// The remembered frames of one object by frame number.  `prompted` ones carry a prompt and are never forgotten by
/// themselves; `recent` ones were tracked.
public struct MemoryBank<Memory, Output> {
    public typealias Entry = Remembered<Memory, Output>

    public let rules: MemoryRules
    public private(set) var prompted: [Int: Entry] = [:]
    public private(set) var recent: [Int: Entry] = [:]

    public init(rules: MemoryRules) { self.rules = rules }

    /// Remembers a frame; a prompted entry displaces a tracked one, never the other way round.
    public mutating func store(_ frame: Int, _ entry: Entry, prompted isPrompted: Bool) {
        if isPrompted {
            recent[frame] = nil
            prompted[frame] = entry
        } else if prompted[frame] == nil {
            recent[frame] = entry
        }
    }

    /// Frames remembered, and how many of them with their memory; in a stream both stay constant.
    public var held: (frames: Int, memories: Int) {
        let entries = Array(prompted.values) + Array(recent.values)
        return (entries.count, entries.filter { $0.memory != nil }.count)
    }

    public func entry(_ frame: Int) -> Entry? { prompted[frame] ?? recent[frame] }

    /// What `frame` attends to when tracking forward, or backward with `reverse`.
    public func recall(_ frame: Int, reverse: Bool = false) -> Recall<Memory, Output> {
        let step = reverse ? 1 : -1
        let chosen = closestFrames(frame, Array(prompted.keys), rules.promptedFrames)
        /// A frame that counts as recent: tracked, or prompted but not chosen.
        func tracked(_ distance: Int) -> Entry? {
            let t = frame + step * distance
            return recent[t] ?? (chosen.contains(t) ? nil : prompted[t])
        }

        var found = Recall<Memory, Output>()
        for t in chosen {
            guard let entry = prompted[t] else { continue }
            if let memory = entry.memory { found.memories.append((memory, rules.promptedRow)) }
            if reverse ? t >= frame : t <= frame { found.outputs.append(entry.output) }
        }
        for distance in 1...max(rules.recentMemories, rules.recentPointers) {
            guard let entry = tracked(distance) else { continue }
            if distance <= rules.recentMemories, let memory = entry.memory {
                found.memories.append((memory, distance - 1))
            }
            if distance <= rules.recentPointers { found.outputs.append(entry.output) }
        }
        return found
    }

    /// Drops what no frame beyond `frame` can read while tracking goes on in one direction.
    public mutating func forgetPassed(_ frame: Int, reverse: Bool = false) {
        let reach = max(rules.recentMemories, rules.recentPointers)
        for t in Array(recent.keys) {
            let age = reverse ? t - frame : frame - t
            if age >= reach {
                recent[t] = nil
            } else if age >= rules.recentMemories {
                recent[t]?.memory = nil
            }
        }
    }

    /// Drops tracked frames near a prompted one (SAM 2's `clear_non_cond_mem_around_input`).
    public mutating func forgetAround(_ frame: Int) {
        let reach = rules.recentMemories + 1
        for t in frame - reach...frame + reach { recent[t] = nil }
    }

    /// Holds the prompted frames to capacity: the first and the latest stay, the others count as tracked.
    public mutating func keepFirstAndLatest() {
        let frames = prompted.keys.sorted()
        guard frames.count > rules.promptedFrames else { return }
        for t in frames[1...(frames.count - rules.promptedFrames)] {
            recent[t] = prompted.removeValue(forKey: t)
        }
    }
}
