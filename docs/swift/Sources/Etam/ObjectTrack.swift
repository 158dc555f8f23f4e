/// One object through a video: its memory, and the answers that are not in memory yet.
struct ObjectTrack<G: Graphs> {
    /// An answer whose memory has not been written; `mask` is what it is made from, before hole filling on tracked
    /// frames.
    struct Pending {
        let output: Prediction
        let mask: Tensor
        let prompted: Bool
    }

    var bank: MemoryBank<G.Handle, Prediction>
    let fillHoleArea: Int
    var pending: [Int: Pending] = [:]
    /// In which direction, backward if true, tracking passed a frame last.
    var passed: [Int: Bool] = [:]

    init(_ rules: MemoryRules, fillHoleArea: Int) {
        (bank, self.fillHoleArea) = (MemoryBank(rules: rules), fillHoleArea)
    }

    /// The latest answer on a frame, if any.
    func output(_ frame: Int) -> Prediction? { pending[frame]?.output ?? bank.entry(frame)?.output }

    /// Answers points on a frame: alone where tracking has not passed, or no prompt is remembered; else with memory.
    mutating func click(
        _ segmenter: Segmenter<G>, _ features: Features<G.Handle>, _ frame: Int, _ points: Points
    ) throws {
        let reverse = bank.prompted.isEmpty ? nil : passed[frame]
        let recall = reverse.map { bank.recall(frame, reverse: $0) }
        let answer = try segmenter.segment(features, points, previous: output(frame)?.lowRes, recall: recall)
        keep(answer, segmenter.manifest.rules, frame)
    }

    /// Takes a mask (S, S) of 0 and 1 as the answer on a frame.
    mutating func paint(
        _ segmenter: Segmenter<G>, _ features: Features<G.Handle>, _ frame: Int, _ mask: Tensor
    ) throws {
        keep(try segmenter.accept(features, mask: mask), segmenter.manifest.rules, frame)
    }

    /// Finds the object on a frame without a prompt.
    mutating func track(
        _ segmenter: Segmenter<G>, _ features: Features<G.Handle>, _ frame: Int, reverse: Bool = false
    ) throws {
        let recall = bank.recall(frame, reverse: reverse)
        let answer = try segmenter.segment(features, Points(), previous: nil, recall: recall)
        let shown = filled(answer, segmenter.manifest.rules)
        pending[frame] = Pending(output: shown, mask: answer.lowRes, prompted: false)
        passed[frame] = reverse
    }

    /// Writes the memory of a frame that is pending; of any other there is nothing to write.
    mutating func settle(_ segmenter: Segmenter<G>, _ features: Features<G.Handle>, _ frame: Int) throws {
        guard let waiting = pending[frame] else { return }
        let memory = try segmenter.memorize(features, waiting.mask, binarize: waiting.prompted)
        bank.store(frame, Remembered(memory: memory, output: waiting.output), prompted: waiting.prompted)
        pending[frame] = nil
    }

    private mutating func keep(_ answer: Prediction, _ rules: Manifest.Rules, _ frame: Int) {
        let shown = filled(answer, rules)
        pending[frame] = Pending(output: shown, mask: shown.lowRes, prompted: true)
    }

    private func filled(_ answer: Prediction, _ rules: Manifest.Rules) -> Prediction {
        var found = answer
        found.lowRes = fillHoles(answer.lowRes, area: fillHoleArea, value: rules.holeLogit)
        return found
    }
}
